"""What protects people: keys, sealed rows, consent, the audit log, receipts. Knows nothing of models."""
