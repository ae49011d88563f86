"""What a trained network looks at: heat maps over a clip's frames, and the pictures that show them."""
