"""The recipe of seesay/mini: everything from named packages to the shipped weights."""
