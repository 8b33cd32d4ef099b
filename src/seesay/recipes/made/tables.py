"""Layouts of rows: receipts, forms, tables of contents and programmes."""

from __future__ import annotations

from collections.abc import Callable

from seesay.recipes.made.setting import SIZES, Column, Laid, Question, Setting, one_of
from seesay.recipes.made.sheet import Box, Overflow
from seesay.recipes.made.vocabulary import split_of, titled

_SHOPS = ("Market", "Store", "Bakery", "Foods", "Hardware", "Cafe", "Corner Shop", "& Sons")
_SIZES = ("large", "small", "fresh", "organic", "red", "green", "white", "spare", "new")


def receipt(setting: Setting) -> Laid:
    """A shop, what was bought and for how much, the sum."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES), narrow=True)
    name = f"{words.known('last')} {draw.choice(_SHOPS)}"
    shop = name.upper() if draw.random() < 0.3 else name
    date, number = words.date(), words.code()
    sign = draw.choice(("", "", "$", "€", "£"))
    column.heading(shop, centred=draw.random() < 0.7)
    if draw.random() < 0.4:
        column.put(words.street(), centred=draw.random() < 0.7)
    column.put(f"Date: {date}" if draw.random() < 0.5 else date)
    numbered = draw.random() < 0.5
    if numbered:
        column.put(f"{draw.choice(('Receipt', 'No.', 'Order'))} {number}")
    column.skip(0.3)
    if draw.random() < 0.5:
        column.rule()
        column.skip(0.2)
    goods: dict[str, str] = {}
    for _ in range(draw.randint(2, 5)):
        good = words.any_of("goods")
        if draw.random() < 0.25:
            good = f"{draw.choice(_SIZES)} {good}"
        goods.setdefault(good, words.amount(30))
    total = _sum(goods)
    for _ in range(60):  # another last price, until the sum belongs to the split
        if split_of(total) == words.split:
            break
        goods[good] = words.amount(30)
        total = _sum(goods)
    else:
        raise Overflow("total")
    cases: tuple[Callable[[str], str], ...] = (str, titled, str.upper, str.capitalize)
    case = draw.choice(cases)
    for good, price in goods.items():
        column.pair(case(good), sign + price)
    column.skip(0.2)
    if draw.random() < 0.6:
        column.rule()
        column.skip(0.2)
    column.pair(draw.choice(("Total", "TOTAL", "Sum", "Amount due")), sign + total, bold=True)
    questions = [
        Question(one_of(draw, "What is the total?", "How much was paid in total?",
                      "What is the total amount?"), _money(sign, total), "total"),
        Question(one_of(draw, "What is the name of the shop?", "Which shop is it from?",
                      "Where was it bought?"), tuple(dict.fromkeys((shop, name))), "shop"),
        Question(one_of(draw, "What is the date?", "When was it bought?",
                      "What is the date of the receipt?"), (date,), "date"),
    ]  # fmt: skip
    for good, price in draw.sample(sorted(goods.items()), min(2, len(goods))):
        wording = one_of(draw, "What is the price of {}?", "How much is {}?", "What does {} cost?")
        questions.append(Question(wording.format(good), _money(sign, price), "price"))
    good, price = draw.choice(sorted(goods.items()))
    if list(goods.values()).count(price) == 1 and price != total:
        wording = one_of(draw, "What costs {}?", "Which item costs {}?")
        questions.append(Question(wording.format(sign + price), (case(good),), "item"))
    if numbered:
        questions.append(Question("What is the number of the receipt?", (number,), "number"))
    if draw.random() < 0.5:
        how = draw.choice(("cash", "card", "credit card", "voucher", "cheque"))
        column.put(f"Paid by {how}" if draw.random() < 0.6 else f"Payment: {how}")
        questions.append(Question("How was it paid?", (how,), "payment"))
    return "receipt", f"A receipt of {name}.", questions


def _sum(goods: dict[str, str]) -> str:
    cents = sum(round(float(price) * 100) for price in goods.values())
    return f"{cents // 100}.{cents % 100:02}"


def _money(sign: str, amount: str) -> tuple[str, ...]:
    return (sign + amount, amount) if sign else (amount,)


def form(setting: Setting) -> Laid:
    """Labels and what was filled in, beside or in boxes."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES))
    title = titled(f"{words.any_of('compounds')} {draw.choice(('form', 'record', 'card'))}")
    column.heading(title)
    column.skip(0.5)
    makers: dict[str, Callable[[], str]] = {
        "Name": words.person,
        "Date of birth": words.date,
        "Date": words.date,
        "City": lambda: words.any_of("cities"),
        "Street": words.street,
        "Phone": words.phone,
        "Order number": words.code,
        "Room": words.code,
        "Amount": words.amount,
        "Manager": words.person,
        "Subject": lambda: words.any_of("compounds"),
        "Department": lambda: titled(words.any_of("compounds")),
        "Weight": lambda: words.made(lambda: f"{draw.randint(1, 999)} kg"),
        "Age": lambda: str(words.number(1, 99)),
        "Item": lambda: words.any_of("goods"),
    }
    labels = draw.sample(list(makers), draw.randint(3, 6))
    style = draw.choice(("beside", "beside", "boxed", "ruled"))
    filled = setting.other() if draw.random() < 0.5 else None
    bold = draw.random() < 0.4
    wide = max(column.face.width(label + ": ") for label in labels) * 1.2
    questions = [Question(one_of(draw, "What is the title of the form?", "What is the title?"),
                          (title,), "title")]  # fmt: skip
    for label in labels:
        value = makers[label]()
        column.put(label + ("" if style == "boxed" and draw.random() < 0.5 else ":"), bold=bold)
        at = column.left + wide
        top, bottom = column.baseline - column.face.size, column.baseline + 0.35 * column.face.size
        column.beside(value, at + 4 * setting.scale, face=filled)
        if style == "boxed":
            setting.sheet.frame(Box(at - 2 * setting.scale, top, column.right, bottom), 150)
            column.skip(0.25)
        elif style == "ruled":
            setting.sheet.fill(Box(at, bottom - 1, column.right, bottom), 130)
        name = label.lower()
        wording = one_of(draw, f"What is the {name}?", f"What is filled in for {label}?")
        questions.append(Question(wording, (value,), name))
        column.skip(0.15)
    return "form", f"A form titled {title}.", questions


def contents(setting: Setting) -> Laid:
    """Chapters and their pages."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES))
    title = draw.choice(("Contents", "Table of Contents", "CONTENTS", "Index", "In this book"))
    column.heading(title, centred=draw.random() < 0.3)
    column.skip(0.4)
    chapter, dots = draw.choice(("{} ", "{}. ", "Chapter {}: ", "")), draw.random() < 0.6
    pages = sorted(draw.sample(range(1, 300), draw.randint(4, 8)))
    titles: list[str] = []
    while len(titles) < len(pages):
        name = words.any_of("compounds")
        name = draw.choice((name.capitalize(), titled(name), titled("the " + name)))
        if name not in titles:
            titles.append(name)
    for number, (name, at) in enumerate(zip(titles, pages, strict=True), 1):
        column.pair(chapter.format(number) + name, str(at), dotted=dots)
        column.skip(0.1)
    questions = []
    for number in draw.sample(range(1, len(pages) + 1), min(4, len(pages))):
        name, at = titles[number - 1], pages[number - 1]
        ways = [
            Question(one_of(draw, f"On which page is {name}?", f"On what page does {name} begin?"),
                     (str(at),), "page"),
            Question(one_of(draw, f"What begins on page {at}?", f"Which title is on page {at}?"),
                     (name,), "title"),
        ]  # fmt: skip
        if chapter:
            ways += [
                Question(one_of(draw, f"What is the title of chapter {number}?",
                              f"What is chapter {number} called?"), (name,), "title"),
                Question(f"On which page does chapter {number} begin?", (str(at),), "page"),
            ]  # fmt: skip
        questions.append(draw.choice(ways))
    return "contents", "A table of contents.", questions


def programme(setting: Setting) -> Laid:
    """Times and what happens then."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES))
    title = f"{draw.choice(('Programme', 'Schedule', 'Agenda', 'Timetable'))}"
    date = words.date()
    column.heading(title)
    column.put(date)
    column.skip(0.5)
    minutes = sorted(draw.sample(range(8 * 4, 20 * 4), draw.randint(3, 6)))
    times = [f"{m // 4}:{m % 4 * 15:02}" for m in minutes]
    wide = column.face.width("00:00  ") + 12 * setting.scale
    questions = [Question(one_of(draw, "What is the date?", "On which day is it?"),
                          (date,), "date")]  # fmt: skip
    seen: set[str] = set()
    for time in times:
        event = words.person() if draw.random() < 0.25 else words.any_of("compounds").capitalize()
        if event in seen:
            raise Overflow(event)
        seen.add(event)
        column.put(time)
        column.beside(event, column.left + wide)
        column.skip(0.2)
        asked = (
            Question(f"What is at {time}?", (event,), "event"),
            Question(f"At what time is {event}?", (time,), "time"),
        )
        questions.append(draw.choice(asked))
    return "programme", f"A programme for {date}.", questions
