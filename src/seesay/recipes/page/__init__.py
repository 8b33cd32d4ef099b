"""How seesay/page was made: a small Florence-2 that reads pages and finds things in scenes."""
