"""The corpus of honest, broken and hostile hand-ins, and what must become of each."""
