"""The agent vocabulary: typed events, the fold of a conversation, importers and exporters."""
