"""Figures in answers: what a model invents is marked, what it says properly is not (product.md X1, decisions.md 37)."""

from __future__ import annotations

import random

import pytest

from core.assistant.claims import Claims, Status, language
from core.assistant.facts import Fact, Facts, Unit
from core.assistant.guard import Guard
from core.assistant.number_words import value_of
from core.assistant.numbers import numbers
from core.assistant.references import Answer, filled
from tests.assistant_world import asked, assistant
from tests.openai_stub import Turn, answered, facts_in, model_server

EN_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
            "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
EN_TENS = ["x", "x", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
TR_SMALL = ["sıfır", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz"]
TR_TENS = ["x", "on", "yirmi", "otuz", "kırk", "elli", "altmış", "yetmiş", "seksen", "doksan"]


def english(n: int) -> str:
    """A number below a million in words, written here independently of the product."""
    if n >= 1000:
        return (english(n // 1000) + " thousand " + (english(n % 1000) if n % 1000 else "")).strip()
    if n >= 100:
        return (EN_SMALL[n // 100] + " hundred " + ("and " + english(n % 100) if n % 100 else "")).strip()
    return EN_SMALL[n] if n < 20 else EN_TENS[n // 10] + ("-" + EN_SMALL[n % 10] if n % 10 else "")


def turkish(n: int) -> str:
    if n >= 1000:
        return ("bin" if n // 1000 == 1 else turkish(n // 1000) + " bin") + (" " + turkish(n % 1000) if n % 1000 else "")
    if n >= 100:
        return ("yüz" if n // 100 == 1 else TR_SMALL[n // 100] + " yüz") + (" " + turkish(n % 100) if n % 100 else "")
    return " ".join(w for w in (TR_TENS[n // 10] if n >= 10 else "", TR_SMALL[n % 10] if n % 10 or not n else "") if w)


def invented(seed: int) -> list[tuple[str, str]]:
    """200 sentences with one invented figure each: (language, sentence). The figures are far from anything the market holds."""
    r = random.Random(seed)
    en_digits = ["The price will reach ${a:,}.", "A rise of {p}% is near.", "Volume is {a:,} coins.", "It has a {p} percent chance.",
                 "The score is {f:.2f}.", "Whales bought {m}M dollars.", "It is {x}x leveraged.", "Support lies at {a:,}.{d}.",
                 "Spread: {p} bps.", "Up {h} days in a row.", "About {k}k traders left.", "RSI {p}.", "- target {a:,}",
                 "**{a}** is the level"]
    tr_digits = ["Fiyat {a_tr} dolar olacak.", "Yükseliş %{p} kadar.", "Olasılık yüzde {p}.", "Skor {f_tr}.", "Hacim {m} milyon dolar.",
                 "Destek {a_tr},{d} seviyesinde.", "{h} gündür düşüyor.", "Risk {p_tr}%.", "{x} kat artabilir.", "Hedef {a}'e yakın."]
    en_words = ["It will rise {w} percent.", "Support lies at {big} dollars.", "There are {w} buyers.", "It fell for {w} days.",
                "The score is zero point {w}.", "About {big} traders left.", "It may go up {w} times.", "Volume {w} million."]
    tr_words = ["Yüzde {w} artacak.", "Destek {big} dolar seviyesinde.", "Toplam {w} alıcı var.", "{w} gündür düşüyor.",
                "Skor sıfır virgül {w}.",
                "Yaklaşık {big} işlem yapıldı.", "{w} kat artabilir.", "Hacim {w} milyon."]
    out = []
    for n in range(200):
        v = {"a": r.randint(231_000, 990_000), "p": r.randint(701, 999) / 10, "f": r.uniform(2.1, 9.7), "m": r.randint(31, 97),
             "x": r.randint(31, 97),
             "d": r.randint(11, 99), "h": r.randint(41, 97), "k": r.randint(110, 990)}
        v |= {"a_tr": f"{v['a']:,}".replace(",", "."), "f_tr": f"{v['f']:.2f}".replace(".", ","), "p_tr": str(v["p"]).replace(".", ",")}
        small, big = r.randint(31, 98), r.randint(231, 989) * 1000 + r.randint(1, 999)
        if n % 4 == 0:
            out.append(("en", en_digits[n // 4 % len(en_digits)].format(**v)))
        elif n % 4 == 1:
            out.append(("tr", tr_digits[n // 4 % len(tr_digits)].format(**v)))
        elif n % 4 == 2:
            out.append(("en", en_words[n // 4 % len(en_words)].format(w=english(small), big=english(big))))
        else:
            out.append(("tr", tr_words[n // 4 % len(tr_words)].format(w=turkish(small).capitalize(), big=turkish(big))))
    return out


def test_of_200_invented_figures_200_are_marked(tmp_path, seed):
    """The model reads real results first, then answers with figures of its own, 25 an answer, split over many small events."""
    sentences = invented(seed)
    marked = {}
    for lang in ("en", "tr"):
        own = [s for where, s in sentences if where == lang]
        for start in range(0, len(own), 25):
            batch = own[start : start + 25]

            def script(request, batch=batch):
                return Turn(text="\n".join(batch), chunk=3) if answered(request) else Turn(calls=(("scores", {}), ("price", {}),
                                                                                                  ("signal", {})))

            with model_server(script) as model:
                told = asked(assistant(tmp_path / f"{lang}{start}", model.url),
                             "How is Bitcoin doing?" if lang == "en" else "Bitcoin ne durumda?")
            lines = "".join(f"⟦{p.text}⟧" if p.status is Status.UNVERIFIED else p.text for p in told.pieces).split("\n")
            assert len(lines) == len(batch)
            marked |= {(lang, start + n): "⟦" in line for n, line in enumerate(lines)}
            missed = [s for s, line in zip(batch, lines, strict=True) if "⟦" not in line]
            assert not missed, missed
    assert len(marked) == 200
    assert sum(marked.values()) == 200


# 50 questions answered properly. {{name}} becomes the reference of the value of that name; <<name>> is typed as a person would type it.
RECORDED = [
    ("How is Bitcoin doing?", "scores", "Trend strength is {{Trend strength score}} ({{Trend strength: word}}), "
     "risk {{Risk exposure score}}."),
    ("BTC ne durumda?", "scores", "Trend gücü {{Trend strength score}} ({{Trend strength: word}}), risk skoru {{Risk exposure score}}."),
    ("What is the price?", "price", "{{price}} right now, {{change over 24 hours}} over the last 24 hours."),
    ("Fiyat kaç?", "price", "Fiyat {{price}}; son 24 saatte değişim {{change over 24 hours}}."),
    ("Give me three reasons to be careful.", "scores", "There are three reasons:\n1. Risk is {{Risk exposure score}}.\n2. The trend is "
     "{{Trend strength: word}}.\n3. Crowding stands at {{Crowding score}}."),
    ("Üç neden söyle.", "scores", "Üç neden var:\n1. Risk {{Risk exposure score}}.\n2. Trend {{Trend strength: word}}.\n"
     "3. Kalabalık {{Crowding score}}."),
    ("Is 25,000 a realistic target?", "price", "25,000 is yours; the price is {{price}}, the day's high {{highest price of the day}}."),
    ("25.000 gerçekçi bir hedef mi?", "price", "25.000 sizin sayınız; fiyat {{price}}, günün en yükseği {{highest price of the day}}."),
    ("What does RSI say?", "trend", "RSI 14 is at {{RSI}}, Bollinger position {{Bollinger position}}."),
    ("RSI ne diyor?", "trend", "RSI(14) değeri {{RSI}}; MACD histogramı {{MACD histogram}}."),
    ("Explain the EMA trend.", "trend", "EMA trend is the distance of EMA 12 and EMA 26 in ATR 14: {{EMA trend}}."),
    ("Which scale is the trend score on?", "scores", "It runs from 0 to 1 with a middle; now it is {{A Trend & momentum score}}."),
    ("Skor hangi aralıkta?", "scores", "Skor 0 ile 1 arasındadır; şu an {{A Trend & momentum score}}."),
    ("What changed?", "what_changed", "Trend strength went from {{Trend strength before}} to {{Trend strength now}} within 24 hours."),
    ("Son 24 saatte ne değişti?", "what_changed", "Trend gücü son 24 saatte {{Trend strength before}} "
     "değerinden {{Trend strength now}} değerine geldi."),
    ("Should I buy?", "signal", "The rule says {{signal}}. One of the reasons: {{reason}}"),
    ("Almalı mıyım?", "signal", "Kural {{signal}} diyor. Bir neden: {{reason}}"),
    ("Value at risk?", "risk", "Value at risk 1 d, 99 % is {{Value at risk 1 d, 99 %}} of the value."),
    ("What about the 4h chart?", "scores4h", "On the 4h candles the price is {{price}}."),
    ("4 saatlik grafik nasıl?", "scores4h", "4 saatlik mumlarda fiyat {{price}}."),
    ("Summarise since 20 November 2026.", "price", "As of 20 November 2026, 14:00 UTC, the price is {{price}}."),
    ("2026-11-20 itibarıyla durum?", "price", "2026-11-20 14:00 itibarıyla fiyat {{price}}."),
    ("Was it better in 2025?", "price", "I have no result for 2025. Now the price is {{price}}."),
    ("2025'te nasıldı?", "price", "2025'te ne olduğuna dair sonuç yok; şimdiki fiyat {{price}}."),
    ("How many modules are there?", "scores", "There are {{modules}} modules and {{composites}} composites."),
    ("Kaç modül var?", "scores", "{{modules}} modül ve {{composites}} bileşik skor var."),
    ("Type the trend score.", "scores", "The trend score is <<A Trend & momentum score>>."),
    ("Trend skorunu yaz.", "scores", "Trend skoru <<A Trend & momentum score>>."),
    ("Type the price.", "price", "The price is <<price>> USDT."),
    ("Fiyatı yaz.", "price", "Fiyat <<price>> USDT."),
    ("Type the day's range.", "price", "Between <<lowest price of the day>> and <<highest price of the day>>."),
    ("Type the risk.", "scores", "Risk exposure stands at <<Risk exposure score>>."),
    ("Risk kaç?", "scores", "Risk skoru <<Risk exposure score>>."),
    ("Which model is used?", "forecast", "No trained model speaks of this series; dir3_dyn is the label that was asked for."),
    ("I hold 3 BTC, what is my risk?", "risk", "You said 3 BTC. Expected shortfall is {{Expected shortfall 1 d, 99 %}} of the value."),
    ("3 BTC tutuyorum, risk?", "risk", "3 BTC için beklenen kayıp payı {{Expected shortfall 1 d, 99 %}}."),
    ("Compare ETH.", "eth", "ETHUSDT is at {{price}}."),
    ("ETH ile karşılaştır.", "eth", "ETHUSDT fiyatı {{price}}."),
    ("What would flip it?", "flips", "If {{Kalman slope now}} became {{Kalman slope needed}}, the word would change."),
    ("Is the data fresh?", "price", "It is {{kind of data}}, {{age of the data}}, newest close {{newest close}}."),
    ("Veri güncel mi?", "price", "Veri {{kind of data}}; son kapanış {{newest close}}."),
    ("Any holes?", "quality", "{{holes}} hole in {{bars checked}}."),
    ("Boşluk var mı?", "quality", "{{bars checked}} içinde {{holes}} boşluk var."),
    ("Who leads?", "scores", "Both of these two scores agree: {{E Correlation & lead-lag score}} and {{C Derivatives & sentiment score}}."),
    ("What is missing?", "scores", "Nothing on-chain is complete: coverage {{F On-chain & macro: coverage}}."),
    ("Zincir üstü veri?", "scores", "On-chain modülünün kapsamı {{F On-chain & macro: coverage}}."),
    ("Is it one of the best?", "watchlist", "It is one of {{symbols listed}} symbols; a third view is in the score lab."),
    ("Hello", "", "Hello. Ask me about a symbol, and I will look at its scores first."),
    ("Merhaba", "", "Merhaba. Bir sembol sorun; önce skorlarına bakarım."),
    ("Show a chart of 200 candles", "chart", "The chart below shows {{bars shown}}, your 200 candles."),
]
CALLS = {"scores": ("scores", {}), "price": ("price", {}), "trend": ("module", {"name": "trend"}), "risk": ("module", {"name": "risk"}),
         "what_changed": ("what_changed", {"name": "trend_strength"}), "signal": ("signal", {}), "scores4h": ("price", {"interval": "4h"}),
         "forecast": ("forecast", {}), "eth": ("price", {"symbol": "ETHUSDT"}), "flips": ("flips", {"name": "trend_strength"}),
         "quality": ("quality", {}), "watchlist": ("watchlist", {}), "chart": ("chart", {"bars": 200})}


def proper(template: str, request: dict, lang: str) -> str:
    facts = facts_in(request)
    for name, value in facts.items():
        template = template.replace("{{" + name + "}}", value["ref"])
        if "<<" + name + ">>" in template:
            typed = f"{value['value']:,.2f}"
            template = template.replace("<<" + name + ">>", typed.translate(str.maketrans(",.", ".,")) if lang == "tr" else typed)
    assert "<<" not in template, template
    return template


@pytest.mark.parametrize("which", range(5))
def test_of_50_proper_answers_no_figure_is_marked(tmp_path, which):
    assert len(RECORDED) == 50
    for question, call, template in RECORDED[which::5]:
        def script(request, call=call, template=template, question=question):
            return Turn(text=proper(template, request, language(question))) if answered(request) or not call else Turn(calls=(CALLS[call],))

        with model_server(script) as model:
            told = asked(assistant(tmp_path, model.url), question)
        assert told.state == "done", (question, told.notices)
        assert not [p for p in told.pieces if p.status is Status.UNVERIFIED], (question, told.text)
        assert "{{" not in told.text
        wanted = template.count("{{") + template.count("<<")
        assert sum(p.status in (Status.REFERENCE, Status.MATCHED) for p in told.pieces) >= wanted


# -- the parts ----------------------------------------------------------------------------------------------------


def facts(*rows) -> Facts:
    out = Facts(Guard())
    for name, value, unit, words, symbol in rows:
        out.add(name=name, value=value, unit=unit, tool="t", words=words, symbol=symbol)
    return out


def statuses(text, known, lang="en", question=""):
    claims = Claims(known, [question], lang, ("BTCUSDT", "ETHUSDT"), fixed=True)
    return [(p.text, p.status.value, p.why) for p in filled(text, claims, known.guard) if p.status is not Status.TEXT]


def test_a_typed_number_fits_only_its_own_unit_and_symbol():
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"), ("change", -0.0234, Unit.CHANGE, "", "BTCUSDT"),
                  ("price", 3_101.25, Unit.PRICE, "USDT", "ETHUSDT"))
    assert statuses("BTC is at 67,200.5 USDT.", known)[0][1] == "matched"
    assert statuses("It fell 2.3 %.", known)[0][1] == "matched"
    assert statuses("It rose 2.3 %.", known)[0][1] == "unverified"
    assert statuses("BTC is at 3,101.25.", known)[0][1] == "unverified"
    assert statuses("ETH is at 3,101.25.", known)[0][1] == "matched"
    assert statuses("ETH is up 3,101.25%.", known)[0][1] == "unverified"
    assert statuses("BTC 67.200,5 dolar", known, "tr")[0][1] == "matched"
    assert statuses("BTC 67.200 dolar", known, "tr")[0][1] == "matched"
    assert statuses("BTC 67.200 dollars", known, "en")[0][1] == "unverified"  # an English reader takes it for sixty-seven


def test_a_number_that_fits_two_values_is_not_linked_to_one_of_them():
    known = facts(("trend score", 0.612, Unit.SCORE, "", "BTCUSDT"), ("risk score", 0.608, Unit.SCORE, "", "BTCUSDT"))
    assert statuses("It is 0.61.", known)[0][1] == "unverified"
    assert statuses("The trend is 0.61.", known)[0][1] == "matched"
    assert statuses("It is 0.612.", known)[0][1] == "matched"
    assert statuses("It is 1.", known)[0][1] == "unverified"


def test_the_users_own_number_is_theirs_with_its_unit_only():
    known = facts()
    assert statuses("Your 25,000 USDT are safe.", known, question="I have 25,000 USDT")[0][2] == "yours"
    assert statuses("It will rise 25,000 %.", known, question="I have 25,000 USDT")[0][1] == "unverified"


@pytest.mark.parametrize(("text", "lang", "value"), [
    ("sixty-one point five percent", "en", 61.5), ("two hundred and five", "en", 205.0),
    ("ninety-nine thousand four hundred", "en", 99_400.0),
    ("altmış bir virgül beş", "tr", 61.5), ("yüz yirmi beş bin", "tr", 125_000.0), ("üç buçuk", "tr", 3.5), ("beşe", "tr", 5.0),
    ("sekseni", "tr", 80.0), ("twice", "en", 2.0), ("67k", "en", 67_000.0), ("２５", "en", 25.0), ("1.234,5", "tr", 1234.5)])
def test_numbers_are_read_in_both_languages(text, lang, value):
    from core.assistant.numbers import ascii_digits

    found = list(numbers(ascii_digits(f"it is {text} now"), lang))
    assert [n.value for n in found] == [value]


def test_every_number_below_a_million_is_read_back():
    for n in (*range(0, 1000, 7), *range(1000, 1_000_000, 37_511)):
        assert value_of(english(n).replace("-", " ").split()) == n
        assert value_of(turkish(n).split()) == n


@pytest.mark.parametrize("text", ["one of them", "on the bin", "bir de on-chain", "the second half-hearted try", "No one", "a point",
                                  "yüzü"])
def test_words_that_are_no_numbers_are_left_alone(text):
    assert not [n for n in numbers(text, "en") if n.text not in ("second", "half")]


def test_the_stream_says_the_same_however_it_is_cut(seed):
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"))
    text = "Price {{f1}}, typed 67,200.5 USDT, invented 12.7 % and sixty-one thousand; yüzde kırk iki. 20 November 2026 at 14:00, RSI 14."
    whole = list(filled(text, Claims(known, fixed=True), known.guard))
    r = random.Random(seed)
    for _ in range(40):
        answer, at = Answer(Claims(known, fixed=True), known.guard), 0
        while at < len(text):
            step = r.randint(1, 9)
            answer.feed(text[at : at + step])
            at += step
        answer.finish()
        assert answer.pieces == whole


@pytest.mark.parametrize(("text", "backed"), [
    ("BTC costs 67,200.50 dollars.", True), ("BTC costs $67,200.50.", True), ("BTC costs 67,200.50 USDT.", True),
    ("BTC costs 67,200.50 euros.", False), ("BTC costs €67,200.50.", False), ("BTC costs 67,200.50 EUR.", False),
    ("BTC costs £67,200.50.", False), ("BTC costs ₺67,200.50.", False), ("BTC costs 67,200.50 lira.", False),
    ("In lira it is ₺2,845,100.00.", True), ("In lira it is $2,845,100.00.", False),
    ("The size is 0.148 BTC.", True), ("The size is 0.148 ETH.", False)])
def test_a_sum_in_another_currency_is_not_backed_by_the_same_digits(text, backed):
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"), ("size", 0.148, Unit.NUMBER, "BTC", "BTCUSDT"),
                  ("price", 2_845_100.0, Unit.PRICE, "TRY", "BTCTRY"))
    pieces = [p for p in filled(text, Claims(known, fixed=True), known.guard) if p.status is not Status.TEXT]
    assert [p.status for p in pieces] == [Status.MATCHED if backed else Status.UNVERIFIED]


@pytest.mark.parametrize("text", ["It is " + "9" * 400 + ".", "It is " + "yüz " * 400 + "now.", "It is 1" + "0" * 400 + " million."],
                         ids=["digits", "words", "a scale"])
def test_a_figure_beyond_every_measure_is_marked_and_the_answer_goes_on(text):
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"))
    pieces = filled(text + " The price is {{f1}}.", Claims(known, fixed=True, locale="tr"), known.guard)
    assert Status.UNVERIFIED in {p.status for p in pieces} and [p.fact for p in pieces if p.fact] == ["f1"]


@pytest.mark.parametrize("unit", ["a-", "a/", "a.", "{{", "x", "1,"])
def test_text_without_a_space_comes_out_in_parts_and_whole(unit):
    """A model that repeats itself: what is kept back stays small, whatever it writes."""
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"))
    answer, text, held = Answer(Claims(known, fixed=True), known.guard), unit * (3_000 // len(unit)), 0
    for at in range(0, len(text), 7):
        answer.feed(text[at : at + 7])
        held = max(held, len(answer._raw))
    answer.finish()
    assert "".join(p.text for p in answer.pieces) == text
    assert held < 700 or unit == "1,"  # a number is never cut


def test_no_digit_leaves_before_its_group_is_complete():
    known = facts(("price", 67_200.5, Unit.PRICE, "USDT", "BTCUSDT"))
    answer = Answer(Claims(known, fixed=True), known.guard)
    for c in "the price is 67,200":
        answer.feed(c)
        assert not any(ch.isdigit() for ch in answer.text)
    for c in ".5 USDT at this moment, which is the newest close of all that are held":
        answer.feed(c)
    assert [p.text for p in answer.pieces if p.status is Status.MATCHED] == ["67,200.5 USDT"]


def test_a_value_is_written_as_the_language_writes_it():
    assert Fact("f1", "price", 67_200.5, Unit.PRICE, "t", words="USDT").text("tr") == "67.200,50 USDT"
    assert Fact("f1", "share", 0.125, Unit.SHARE, "t").text("tr") == "%12,5"
    assert Fact("f1", "share", 0.125, Unit.SHARE, "t").text("en") == "12.5%"
