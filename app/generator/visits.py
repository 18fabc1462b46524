"""The behaviour of a shop's visitors: log in, browse, search, buy, return, log out."""

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from math import exp
from statistics import NormalDist
from typing import Any

# Frequency per thousand actions in a session.
ACTIONS = {"view": 700, "click": 120, "search": 60, "rating": 25, "purchase": 35, "refund": 5, "logout": 55}
# Frequency in percent, with the currency.
COUNTRIES = {
    "GB": ("GBP", 25),
    "US": ("USD", 20),
    "DE": ("EUR", 14),
    "FR": ("EUR", 10),
    "BR": ("BRL", 7),
    "IN": ("INR", 7),
    "JP": ("JPY", 6),
    "AU": ("AUD", 5),
    "ZA": ("ZAR", 3),
    "NG": ("NGN", 3),
}
QUERIES = (
    "lamp",
    "red mug",
    "gift card",
    "café au lait bowl",
    "wrapping paper",
    "clock",
    "tea towel",
    "Weihnachten",
)
DEVICES = ("mobile", "mobile", "mobile", "desktop", "desktop", "tablet")
QUANTITIES = (1, 1, 1, 1, 1, 2, 2, 3, 4, 6, 12)
STARS = (1, 2, 3, 3, 4, 4, 4, 5, 5, 5)
OPEN_AT_START = 0.9
# Exponents of the popularity's power law.
USER_SKEW = 0.8
PAGE_SKEW = 1.0
# Log-normal: half of the amounts are below the median; about 5 % above 500 and 1.5 % above 1000.
AMOUNT_MEDIAN = 60.0
AMOUNT_SIGMA = 1.3
AMOUNT_STEPS = 4096
# Odd, as in `synthetic`: session ids that look random and never collide.
SCRAMBLE = 0xD1342543DE82EF95
MASK = 2**48 - 1


def _repeated(shares: dict[str, int]) -> list[str]:
    return [name for name, times in shares.items() for _ in range(times)]


def _zipf(size: int, skew: float) -> list[float]:
    """Return the cumulative popularity of ranks 1 to `size`, up to 1."""
    sums = list(accumulate(rank**-skew for rank in range(1, size + 1)))
    return [value / sums[-1] for value in sums[:-1]]


def _amounts() -> list[str]:
    """Return quantiles of the amounts, as text with two decimals."""
    normal = NormalDist()
    steps = ((step + 0.5) / AMOUNT_STEPS for step in range(AMOUNT_STEPS))
    return [f"{AMOUNT_MEDIAN * exp(AMOUNT_SIGMA * normal.inv_cdf(step)):.2f}" for step in steps]


class Visits:
    """The visitors; each has at most one open session.

    Args:
        run: text in every session id.
        users: number of users.
        pages: number of pages.
        random: returns numbers from 0 to below 1.

    Attributes:
        keys: the users' ids in UTF-8, by the user's number.
    """

    def __init__(self, run: str, users: int, pages: int, random: Callable[[], float]) -> None:
        self._run, self._random = run, random
        self._user_popularity, self._page_popularity = _zipf(users, USER_SKEW), _zipf(pages, PAGE_SKEW)
        self._pages = ["/", *(f"/products/{page:04d}" for page in range(1, pages))]
        self._actions, self._amounts = _repeated(ACTIONS), _amounts()
        homes = _repeated({country: times for country, (_, times) in COUNTRIES.items()})
        countries = [homes[int(random() * len(homes))] for _ in range(users)]
        self._currencies = [COUNTRIES[country][0] for country in countries]
        names = [f"user-{user:05d}" for user in range(users)]
        self.keys = [name.encode() for name in names]
        self._who = [
            f'"user_id":"{name}","country":"{home}"' for name, home in zip(names, countries, strict=True)
        ]
        self._opened = 0
        # Most visits began before the first event; otherwise a stream would begin with logins only.
        self._sessions = [self._session() if random() < OPEN_AT_START else "" for _ in range(users)]
        self._bought: dict[int, str] = {}

    def user(self) -> int:
        """Choose the user of the next event."""
        return bisect(self._user_popularity, self._random())

    def view(self, user: int, event_id: str, timestamp: str) -> dict[str, Any]:
        """Return the fields of a view; it changes no session."""
        return {
            "event_id": event_id,
            "user_id": self.keys[user].decode(),
            "action": "view",
            "timestamp": timestamp,
            "page": self._page(),
        }

    def event(self, user: int, event_id: str, timestamp: str) -> str:
        """Return the user's next event, as JSON."""
        # Templates are five times as fast as a JSON encoder, and nothing in them needs escaping.
        random = self._random
        head = f'{{"event_id":"{event_id}","timestamp":"{timestamp}",{self._who[user]},"session_id":"'
        session = self._sessions[user]
        if not session:
            session = self._sessions[user] = self._session()
            device = DEVICES[int(random() * len(DEVICES))]
            return f'{head}{session}","action":"login","attributes":{{"device":"{device}"}}}}'
        action = self._actions[int(random() * len(self._actions))]
        if action == "refund" and user not in self._bought:
            action = "view"
        if action == "purchase":
            tail = self._purchase(user)
        elif action == "refund":
            tail = self._bought.pop(user)
        elif action == "logout":
            self._sessions[user] = tail = ""
        elif action == "search":
            query = QUERIES[int(random() * len(QUERIES))]
            tail = f',"page":"/search","attributes":{{"query":"{query}"}}'
        elif action == "rating":
            stars = STARS[int(random() * len(STARS))]
            tail = f',"page":"{self._page()}","attributes":{{"stars":{stars}}}'
        else:
            tail = f',"page":"{self._page()}"'
        return f'{head}{session}","action":"{action}"{tail}}}'

    def _session(self) -> str:
        self._opened += 1
        return f"{self._run}{self._opened * SCRAMBLE & MASK:012x}"

    def _page(self) -> str:
        return self._pages[bisect(self._page_popularity, self._random())]

    def _purchase(self, user: int) -> str:
        random = self._random
        page, currency = self._page(), self._currencies[user]
        amount = self._amounts[int(random() * AMOUNT_STEPS)]
        quantity = QUANTITIES[int(random() * len(QUANTITIES))]
        self._bought[user] = (
            f',"page":"{page}","amount":-{amount},"quantity":-{quantity},"currency":"{currency}"'
        )
        return f',"page":"{page}","amount":{amount},"quantity":{quantity},"currency":"{currency}"'
