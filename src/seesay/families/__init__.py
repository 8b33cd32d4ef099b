"""One folder per published model. A family composes networks and imports no other family."""
