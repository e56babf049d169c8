"""What people write, checked: recipes and targets."""
