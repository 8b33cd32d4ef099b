"""Images, texts and locations to tensors and back."""
