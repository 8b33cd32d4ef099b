"""The `seesay` command. Help and completion import no torch."""
