"""What the jobs on ad events share: which campaign an ad is of, and the length of a window."""

from hashlib import blake2b

CAMPAIGNS = 100
ADS = 10
WINDOW = 10  # seconds of event time


def name(kind: str, number: int) -> str:
    """Make up an id that looks like a UUID."""
    text = blake2b(f"{kind}-{number}".encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


CAMPAIGN_OF = {name("ad", number): name("campaign", number // ADS) for number in range(CAMPAIGNS * ADS)}
