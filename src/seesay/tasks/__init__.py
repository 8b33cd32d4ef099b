"""What models can be asked. A task is declared once; commands, routes and forms come from it."""
