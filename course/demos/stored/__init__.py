"""What demos show and cannot compute as you watch: small files, and what made them."""
