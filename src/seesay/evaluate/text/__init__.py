"""Texts against texts: tokens, BLEU, ROUGE-L and CIDEr-D of captions, accuracy of answers."""
