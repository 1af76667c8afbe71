"""What any daemon needs and no library has: configuration, errors and findings for users,
quantities, checked documents, operations that are joined.
"""
