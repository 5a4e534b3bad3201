"""What we say held against what a node says. Told, never silently repaired; nothing is paid."""
