"""What each era's Ollama writes into its log and its errors."""
