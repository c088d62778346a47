"""Chat templates in the manner of the model families, and conversations for them."""

CONVERSATIONS = {}
TEMPLATES = []
