"""One file per format of data: each says what it recognises and makes a `Dataset` of it."""
