"""Numbers written as words, in English and Turkish: which words they are, and what a row of them comes to."""

from __future__ import annotations

import re
from collections.abc import Sequence

_EN_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
             "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_EN_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_TR_SMALL = ["sıfır", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz"]
_TR_TENS = ["on", "yirmi", "otuz", "kırk", "elli", "altmış", "yetmiş", "seksen", "doksan"]

ENGLISH: dict[str, float] = ({w: float(n) for n, w in enumerate(_EN_SMALL)} | {w: 20.0 + 10 * n for n, w in enumerate(_EN_TENS)}
                             | {"fourty": 40.0})
TURKISH: dict[str, float] = {w: float(n) for n, w in enumerate(_TR_SMALL)} | {w: 10.0 + 10 * n for n, w in enumerate(_TR_TENS)}
SCALES: dict[str, float] = {"hundred": 100.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "yüz": 100.0, "bin": 1e3,
                            "milyon": 1e6, "milyar": 1e9, "trilyon": 1e12}
WHOLE: dict[str, float] = {"half": 0.5, "quarter": 0.25, "dozen": 12.0, "double": 2.0, "doubled": 2.0, "doubles": 2.0, "twice": 2.0,
                           "triple": 3.0, "tripled": 3.0, "triples": 3.0, "thrice": 3.0, "quadruple": 4.0, "quadrupled": 4.0, "halved": 0.5,
                           "halves": 0.5, "third": 1 / 3, "thirds": 1 / 3, "quarters": 0.25, "fifths": 0.2, "tenths": 0.1, "halve": 0.5,
                           "yarım": 0.5, "yarı": 0.5, "yarısı": 0.5, "yarısını": 0.5, "yarısının": 0.5, "yarısından": 0.5, "yarıya": 0.5,
                           "çeyrek": 0.25, "çeyreği": 0.25, "düzine": 12.0}
VAGUE = {"hundreds", "thousands", "millions", "billions", "dozens", "tens", "yüzlerce", "binlerce", "milyonlarca", "milyarlarca",
         "onlarca", "düzinelerce"}
POINTS = {"point", "virgül", "nokta"}
AND_A_HALF = {"buçuk", "buçuğu", "buçuğa", "buçukluk"}
JOINING = {"and"}  # two hundred and five
MISSPELT = {"uc": "üç", "dort": "dört", "bes": "beş", "alti": "altı", "kirk": "kırk", "altmis": "altmış", "yetmis": "yetmiş",
            "yuz": "yüz", "sifir": "sıfır", "bucuk": "buçuk", "virgul": "virgül", "yarim": "yarım", "ceyrek": "çeyrek", "duzine": "düzine"}

_SUFFIX = re.compile(r"(?:['’]?(?:[iıuü]|y?[ae]|[dt][ae]n?|n?[iıuü]n|[yn]?[iıuü]|s[iıuü]|ş?[ae]r|l[iıuü]k|lar|ler|s[iıuü]n[aei]|"
                     r"[iıuü]nc[iıuü]))$")
_ALONE = {"bir", "on"}  # "biri", "onu", "onda" are pronouns
_BODY = {"yüz", "bin", "altı", "yedi"}  # also face, mount, under, ate: a suffix makes them that


def meaning(word: str) -> tuple[str, float] | None:
    """What a word is to a number: ("value" | "scale" | "whole" | "vague" | "point" | "half" | "and", amount); None for other words.

    >>> meaning("sixty"), meaning("beşe"), meaning("market")
    (('value', 60.0), ('value', 5.0), None)
    """
    lower = word.replace("İ", "i").replace("I", "ı").lower() if any(c in word for c in "ğışöçüİ") else word.lower()
    lower = MISSPELT.get(lower, lower)
    for kind, table in (("value", ENGLISH), ("value", TURKISH), ("scale", SCALES), ("whole", WHOLE)):
        if lower in table:
            return kind, table[lower]
    if lower.endswith("fold") and lower.removesuffix("fold").rstrip("-") in ENGLISH:
        return "whole", ENGLISH[lower.removesuffix("fold").rstrip("-")]
    if lower in VAGUE:
        return "vague", 0.0
    if lower in POINTS:
        return "point", 0.0
    if lower in AND_A_HALF:
        return "half", 0.5
    if lower in JOINING:
        return "and", 0.0
    ending = _SUFFIX.search(lower)
    while ending is not None:
        stem = lower[: ending.start()]
        stem = {"dörd": "dört", "kırığ": "kırk"}.get(stem, stem)
        if (stem in TURKISH or stem in SCALES) and stem not in _ALONE and stem not in _BODY and not stem.isascii():
            return ("value", TURKISH[stem]) if stem in TURKISH else ("scale", SCALES[stem])
        if stem in ("iki", "sekiz", "dokuz", "yirmi", "otuz", "elli", "seksen", "doksan", "milyon", "milyar"):
            return ("value", TURKISH[stem]) if stem in TURKISH else ("scale", SCALES[stem])
        ending = _SUFFIX.search(lower, ending.start() + 1)
    return None


def in_turkish(word: str) -> bool:
    """Whether a number word is Turkish: some of them ("on", "bin") are other words in English."""
    found = meaning(word)
    lower = word.lower()
    return found is not None and lower not in ENGLISH and lower not in WHOLE and lower not in ("hundred", "thousand", "million", "billion",
                                                                                              "trillion", "point", "and", *VAGUE)


def value_of(words: Sequence[str]) -> float | None:
    """What a row of number words comes to; None where it is vague or makes no sense.

    >>> value_of(["sixty", "one", "point", "five"]), value_of(["yüz", "yirmi", "beş", "bin"]), value_of(["two", "hundred", "and", "five"])
    (61.5, 125000.0, 205.0)
    >>> value_of(["üç", "buçuk"]), value_of(["otuz", "virgül", "yirmi", "beş"]), value_of(["thousands"])
    (3.5, 30.25, None)
    """
    total = current = 0.0
    digits: list[float] | None = None
    any_value = False
    before: tuple[str, float] | None = None
    for word in words:
        last = before[1] if before is not None and before[0] == "value" else None
        found = before = meaning(word)
        if found is None or found[0] == "vague":
            return None
        kind, amount = found
        if kind == "point":
            digits = []
        elif kind == "and":
            continue
        elif digits is not None and kind == "value":
            digits.append(amount)
        elif kind == "half":
            current += 0.5
        elif kind == "whole":
            current = current * amount if any_value else amount
            any_value = True
        elif kind == "value":
            if last is not None and not (last >= 10 and last % 10 == 0 and amount < 10):
                return None  # "six seven": said digit by digit
            current += amount
            any_value = True
        elif amount == 100.0:
            current = (current or 1.0) * 100.0
        else:
            current += _fraction(digits)
            total, current, digits = total + (current or 1.0) * amount, 0.0, None
    return total + current + _fraction(digits)


def _fraction(digits: list[float] | None) -> float:
    """Digits said after the point: "five two" is .52, "twenty five" is .25."""
    if not digits:
        return 0.0
    text = ""
    for n, digit in enumerate(digits):
        if digit < 10 and n and digits[n - 1] >= 20 and digits[n - 1] % 10 == 0:
            text = text[:-1] + str(int(digit))
        else:
            text += str(int(digit))
    return float("0." + text)
