"""Is a number in an answer backed by something? A reference, exactly one result, the user's own words, a date, a count, a parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from core.assistant.facts import SHARES, Fact, Facts, Unit, coins
from core.assistant.numbers import Number, ascii_digits, numbers
from data.market import Interval

TRIVIAL = 10  # a whole number up to this, 25, 50, 75 or 100 % fits too much by chance, as does one of
FEWEST_DIGITS = 3  # fewer digits than this: the name of the value must stand in the sentence
SENTENCE = 240


class Status(StrEnum):
    """What stands behind a piece of an answer."""

    TEXT = "text"
    REFERENCE = "reference"  # written by code from a fact
    MATCHED = "matched"  # typed, and equal to exactly one value of the results
    PLAIN = "plain"  # a date, a count, a parameter, or the user's own number
    UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer. `fact` is the id of the value behind it; `why` says in a word why a number needs none."""

    text: str
    status: Status = Status.TEXT
    fact: str = ""
    why: str = ""

    def document(self) -> dict[str, str]:
        return {"text": self.text, "status": str(self.status), "fact": self.fact, "why": self.why}

    @classmethod
    def of(cls, document: Mapping[str, str]) -> Piece:
        return cls(document["text"], Status(document["status"]), document.get("fact", ""), document.get("why", ""))


_TURKISH_LETTER = re.compile(r"[ğşıİĞŞ]")
_TURKISH = re.compile(r"\b(?:ve|bir|bu|için|ne|mi|mı|mu|mü|nasıl|kaç|neden|olan|ile|çok|var|yok|şu|de|da|hangi|son|göre|değil|"
                      r"durumda|yüzde|skor\w*|fiyat\w*|gün|saat)\b", re.IGNORECASE)
_ENGLISH = re.compile(r"\b(?:the|is|are|of|and|what|how|why|to|in|it|for|which|with|has|was|does|this|that)\b", re.IGNORECASE)


def language(text: str, otherwise: str = "en") -> str:
    """"tr" or "en", by the words of a text.

    >>> language("BTC ne durumda?"), language("How is BTC?"), language("BTCUSDT", "tr")
    ('tr', 'en', 'tr')
    """
    turkish = len(_TURKISH.findall(text)) + len(_TURKISH_LETTER.findall(text))  # apart: without case "ı" is "i"
    english = len(_ENGLISH.findall(text))
    return otherwise if turkish == english else "tr" if turkish > english else "en"


# Units of facts, as the scanner names them. A number without a unit may be any of the bare ones.
_BARE = (Unit.SCORE, Unit.STEP, Unit.COUNT, Unit.NUMBER, Unit.PRICE, Unit.MONEY)
_WORDED = {"bps": "bps", "hours": "hours", "days": "days", "bars": "bars", "minutes": "minutes", "seconds": "s", "times": "x", "atr": "ATR",
           "weeks": "weeks", "months": "months", "years": "years", "points": "points"}
_CURRENCIES = {"money": ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "quote"), "euros": ("EUR",), "lira": ("TRY",), "pounds": ("GBP",)}
_STRUCTURE = re.compile(r"^\s*(?:\w+\s)?(?:reasons?|points?|things?|steps?|parts?|ways?|options?|questions?|caveats?|notes?|sentences?|"
                        r"neden\w*|nokta\w*|şey\w*|adım\w*|madde\w*|yol\w*|soru\w*|uyarı\w*|başlık\w*|cümle\w*|not)\b", re.IGNORECASE)
_POINTING = re.compile(r"(?:\b(?:these|those|both|all|bu|şu|her)\s)$", re.IGNORECASE)
_SCALES = re.compile(r"-?\b[01]\s?(?:\.\.+|–|-|to|ile|ila|and|ve)\s?(?:1(?:00)?)\b(?![\d.,%])|\bbetween\s-?[01]\sand\s1(?:00)?\b"
                     r"|\b24/7\b",
                     re.IGNORECASE)
_LIST_MARK = re.compile(r"(?:^|\n)\s{0,6}$")
_YEAR = re.compile(r"(?:\b(?:in|since|until|year|from|by|of|during)\s|\()$", re.IGNORECASE)
_FALLING = re.compile(r"\b(?:fell|fall\w*|down|lost|los\w+|lower|below|minus|negative|declin\w+|drop\w*|decreas\w+|short|bear\w*|düş\w+|"
                      r"gerile\w+|eksi|kayb\w+|kayıp|aşağı|azal\w+|negatif)\b", re.IGNORECASE)
_RISING = re.compile(r"\b(?:rose|ris(?:e|en|ing)|up|gain\w*|higher|above|plus|positive|increas\w+|climb\w*|art\w+|yüksel\w+|çık\w+|yukarı|"
                     r"artı|pozitif|kazan\w+)\b", re.IGNORECASE)
_ALSO = {"price": ("fiyat",), "change": ("değiş",), "coverage": ("kapsam",), "probability": ("olasıl", "ihtimal"), "confidence": ("güven",),
         "target": ("hedef",), "entry": ("giriş",), "strength": ("güç", "gücü"), "exposure": ("risk",), "profit": ("kâr", "kar"),
         "equity": ("özkaynak", "bakiye"), "cash": ("nakit",), "holes": ("boşluk",), "highest": ("en yüksek",), "lowest": ("en düşük",),
         "volatility": ("oynaklık", "volatilite"), "trades": ("işlem",), "drawdown": ("düşüş",), "win": ("kazan",), "return": ("getiri",)}


@lru_cache(maxsize=1)
def parameters() -> tuple[dict[str, frozenset[float]], tuple[str, ...]]:
    """Numbers that belong to a metric's name ("RSI 14"), by the word before them, and titles that hold digits; from the registry."""
    from analysis.composites import COMPOSITES
    from analysis.modules import MODULES

    texts = [f"{m.title} ; {m.formula} ; {m.unit}" for module in MODULES for m in module.metrics]
    found: dict[str, set[float]] = {"macd": {12.0, 26.0, 9.0}, "ema": {12.0, 26.0, 50.0, 200.0}, "sma": {20.0, 50.0, 200.0},
                                    "bollinger": {20.0, 2.0}, "rsi": {14.0}, "atr": {14.0}, "adx": {14.0}}
    for text in texts:
        for word, number in re.findall(r"([A-Za-z]{2,})[\s(]?(\d+)(?![\d.,]*\d)", text):
            found.setdefault(word.lower(), set()).add(float(number))
    titles = {m.title for module in MODULES for m in module.metrics} | {m.unit for module in MODULES for m in module.metrics}
    titles |= {module.type for module in MODULES} | {str(c.horizon) for c in COMPOSITES}
    digits = sorted((t for t in titles if re.search(r"\d", t) and len(t) > 3), key=len, reverse=True)
    return {w: frozenset(n) for w, n in found.items() if w not in ("of", "to", "over", "at", "in", "by", "min", "max", "than", "ln", "is",
                                                                   "and")}, \
        tuple(digits)


@lru_cache(maxsize=1)
def _identifiers() -> frozenset[str]:
    """Names with digits that are no figures: intervals, labels, rules."""
    from core.strategies import STRATEGIES
    from data.features import FEATURES
    from data.labels import LABELS

    return frozenset(w.lower() for w in (*(str(i) for i in Interval), *(k.name for k in LABELS), *(s.name for s in STRATEGIES),
                                         *(f.name for f in FEATURES)))


class Claims:
    """Judges the numbers of one answer against this question's facts."""

    def __init__(self, facts: Facts, asked: Iterable[str] = (), locale: str = "en", symbols: Iterable[str] = (), *,
                 fixed: bool = False) -> None:
        self.facts, self.locale = facts, locale
        self.fixed = fixed  # the language is known: an answer's own words do not change it
        self.symbols = frozenset(symbols)
        asked = [ascii_digits(text) for text in asked]
        self._own = [n for text in asked for n in numbers(text, language(text, locale)) if n.value is not None]
        self._own_words = frozenset(w.lower() for text in asked for w in re.findall(r"\w*\d\w*", text))
        self._named: tuple[int, frozenset[str]] = (-1, frozenset())

    def judge(self, number: Number, text: str) -> Piece:
        """What stands behind a number at its place in a text (some characters before and after it are enough)."""
        said = number.text
        if number.kind == "reference":
            fact = self.facts.known.get(said.strip("{} "))
            if fact is None:
                return Piece("reference without a source", Status.UNVERIFIED, why="no such value")
            return Piece(fact.text(self.locale), Status.REFERENCE, fact.id)
        if number.kind == "date":
            return Piece(said, Status.PLAIN, why="date")
        before, after = text[max(0, number.start - SENTENCE) : number.start], text[number.end :]
        if number.kind == "name":
            return self._name(said, before)
        why = self._plain(number, text, before, after)
        if why:
            return Piece(said, Status.PLAIN, why=why)
        if number.value is None:
            return Piece(said, Status.UNVERIFIED)
        fact = self._match(number, before, after)
        if fact is not None:
            return Piece(said, Status.MATCHED, fact.id)
        if self._is_own(number):
            return Piece(said, Status.PLAIN, why="yours")
        return Piece(said, Status.UNVERIFIED)

    # -- numbers that are no figures --------------------------------------------------------------------------------

    def _name(self, said: str, before: str) -> Piece:
        word = said.lower()
        named = re.match(r"([a-z]+)[_-]?(\d+)$", word)
        known = word in _identifiers() or word.upper() in self.symbols or word in self._words_of_results() or word in self._own_words
        if known or (named and float(named[2]) in parameters()[0].get(named[1], ())):
            return Piece(said, Status.PLAIN, why="name")
        return Piece(said, Status.UNVERIFIED)

    def _plain(self, number: Number, text: str, before: str, after: str) -> str:
        value = number.value
        if value is None:
            return ""
        if number.kind == "digits" and not number.unit and _LIST_MARK.search(before) and re.match(r"[.)]\s", after) and value <= 50:
            return "list"
        for scale in _SCALES.finditer(text, max(0, number.start - 16), number.end + 16):
            if scale.start() <= number.start and number.end <= scale.end():
                return "scale"
        if self._in_title(number, text):
            return "parameter"
        whole, bare = value == int(value), not number.unit
        word = re.search(r"([^\W\d_]+)[\s(/,-]*(?:\d+\s?[/,]\s?)*$", before)
        if whole and bare and word and value in parameters()[0].get(word[1].lower(), ()) and not number.signed and number.kind == "digits":
            return "parameter"
        if number.kind == "digits" and self._interval(number, before, after):
            return "interval"
        if whole and bare and number.kind == "digits" and number.text.isdigit() and 1990 <= value < 2100 and (
                _YEAR.search(before) or re.match(r"\s?(?:yıl\w*|['’]\w+)", after)):
            return "date"
        if whole and bare and 2 <= value <= TRIVIAL and (_STRUCTURE.match(after) or (value <= 5 and _POINTING.search(before))):
            return "count"
        return ""

    def _interval(self, number: Number, before: str, after: str) -> bool:
        """"1h", "4-hour candles", "1 saatlik": an interval of candles."""
        said = re.sub(r"[\s-]", "", number.text.lower())
        for long, short in (("hours", "h"), ("hour", "h"), ("minutes", "m"), ("minute", "m"), ("min", "m"), ("days", "d"), ("day", "d"),
                            ("saatlik", "h"), ("dakikalık", "m"), ("günlük", "d"), ("haftalık", "w")):
            if said.endswith(long):
                said = said[: -len(long)] + short
                break
        if said not in {str(i) for i in Interval}:
            return False
        return (re.search(r"\d[mhdw]$|l[iıü]k$", number.text, re.IGNORECASE) is not None or "-" in number.text
                or re.match(r"\s(?:bars?|candles?|chart|interval|timeframe|mum)", after, re.IGNORECASE) is not None)

    def _in_title(self, number: Number, text: str) -> bool:
        start = max(0, number.start - 48)
        near = text[start : number.end + 48]
        for title in parameters()[1]:
            at = near.find(title)
            while at >= 0:
                if start + at <= number.start and number.start < start + at + len(title):
                    return True
                at = near.find(title, at + 1)
        return False

    def _words_of_results(self) -> frozenset[str]:
        """Words with digits that stand in names and words of the results: model versions, run numbers."""
        if self._named[0] != len(self.facts.known):
            texts = [str(f.value) for f in self.facts.known.values() if f.unit is Unit.WORDS] + [f.name for f in self.facts.known.values()]
            texts += [row.name for found in self.facts.results for row in found.rows]
            self._named = (len(self.facts.known), frozenset(w.lower() for t in texts for w in re.findall(r"[^\W\d][\w/.-]*\d[\w/-]*", t)))
        return self._named[1]

    def _is_own(self, number: Number) -> bool:
        return any(own.value == number.value and (own.unit == number.unit) for own in self._own)

    # -- numbers that are figures ---------------------------------------------------------------------------------

    def _match(self, number: Number, before: str, after: str) -> Fact | None:
        """The one value it equals at the precision shown; None where there is none, or there are several."""
        sentence = re.split(r"[.!?\n]\s", before)[-1] + " \0 " + re.split(r"[.!?\n](?:\s|$)", after)[0]
        names = self._symbols_in(sentence)
        fitting = [f for f in self.facts.known.values() if _same_unit(number, f) and (not names or not f.symbol or f.symbol in names)
                   and _equal(number, f, sentence)]
        if not fitting:
            return None
        if len({(f.value, f.symbol, f.unit, f.words) for f in fitting}) > 1 or _is_trivial(number):
            near = [f for f in fitting if _about(f, sentence)]
            if len({(f.value, f.symbol, f.unit, f.words) for f in near}) != 1:
                return None
            return near[0]
        return fitting[0]

    def _symbols_in(self, sentence: str) -> set[str]:
        words = {w.upper() for w in re.findall(r"[A-Za-z0-9]{2,20}", sentence)}
        return {s for s in self.symbols if s in words or _base(s) in words}


def _base(symbol: str) -> str:
    return re.sub(r"(?:USDT|USDC|FDUSD|BTC|TRY)$", "", symbol) or symbol


def _same_unit(number: Number, fact: Fact) -> bool:
    if fact.unit in (Unit.WORDS, Unit.TIME):
        return False
    unit = number.unit
    percent = fact.unit in SHARES or fact.words.startswith("%")
    if unit == "share":
        return percent
    if unit in _CURRENCIES:
        if fact.unit not in (Unit.PRICE, Unit.MONEY) and fact.words not in ("USDT", "quote"):
            return False
        return (fact.words or (coins(fact.symbol)[1] if fact.symbol else "USDT")) in _CURRENCIES[unit]
    if unit == "base":
        coin = re.search(r"[A-Za-z]+$", number.text)
        named = coin is not None and coin[0].upper() in (fact.words, "COIN", "COINS")  # half a bitcoin is not half an ether
        return fact.unit is Unit.NUMBER and named and bool(re.fullmatch(r"[A-Z]{2,8}", fact.words))
    if unit:
        return unit in _WORDED and fact.words.split(" ")[0] == _WORDED[unit]
    return fact.unit in _BARE and fact.words not in _WORDED.values()


def _equal(number: Number, fact: Fact, sentence: str) -> bool:
    assert number.value is not None
    value = float(fact.value) * (100.0 if fact.unit in SHARES else 1.0)
    said = number.value
    if said >= 0 and value < 0 and not number.signed and _FALLING.search(sentence):
        value = -value
    if said == value:
        return True
    if number.digits < 2:
        return False  # one digit fits too much by chance
    return abs(said - value) <= number.step * (1 + 1e-9)


def _is_trivial(number: Number) -> bool:
    value = abs(number.value or 0.0)
    if number.unit in ("hours", "days", "bars", "minutes", "weeks") and value > 2:
        return False  # the span or horizon of a result, named by its unit
    return (value == int(value) and value <= TRIVIAL) or (number.unit == "share" and value in (25.0, 50.0, 75.0,
                                                                                               100.0)) or number.digits < FEWEST_DIGITS


def _about(fact: Fact, sentence: str) -> bool:
    """Whether the sentence names what the value is."""
    lower = sentence.lower()
    words = set(re.findall(r"[^\W\d_]{3,}", fact.name.lower())) - {"score", "the", "and", "now", "value", "module", "over", "needed"}
    if fact.unit is Unit.CHANGE and (_FALLING if fact.value < 0 else _RISING).search(sentence):
        return True
    return any(w[:5] in lower for w in words) or any(turkish in lower for w in words for turkish in _ALSO.get(w, ()))


def documents(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    return [p.document() for p in pieces]
