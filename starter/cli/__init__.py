"""The `fulgurite` command: verbs on nouns, `--json` everywhere, exit codes to rely on."""
