"""The words of commands with many of them; nothing heavy is imported here."""
