"""Operations that go in, events and verdicts that come out."""
