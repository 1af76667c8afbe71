"""What any daemon needs and no library brings: errors for users, quantities, checked documents."""
