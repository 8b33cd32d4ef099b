"""Layouts of messages: letters, e-mails and notices."""

from __future__ import annotations

from collections.abc import Callable

from seesay.recipes.made.setting import SIZES, Column, Laid, Question, Setting, one_of
from seesay.recipes.made.vocabulary import titled


def email(setting: Setting) -> Laid:
    """From, to, date and subject, then a text and a name."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES))
    sender, to = words.person(), words.person()
    date, subject = words.date(), _subject(setting)
    address = words.address(sender) if draw.random() < 0.3 else None
    fields = [
        (draw.choice(("From", "From", "Sender")), sender),
        (draw.choice(("To", "To", "Recipient")), to),
        (draw.choice(("Date", "Sent")), date),
        ("Subject", subject),
    ]
    if address:
        fields.insert(1, (draw.choice(("Reply to", "E-mail", "Address")), address))
    if draw.random() < 0.3:
        fields[-1], fields[-2] = fields[-2], fields[-1]
    bold, aligned = draw.random() < 0.5, draw.random() < 0.4
    wide = max(column.face.width(f"{label}: ") for label, _ in fields) * 1.12
    for label, value in fields:
        box = column.put(label + ":", bold=bold)
        at = column.left + wide if aligned else box.x2 + 0.35 * column.face.size
        column.beside(value, at, bold=value == subject and draw.random() < 0.5)
    column.skip(0.3)
    if draw.random() < 0.5:
        column.rule()
    column.skip(0.4)
    if draw.random() < 0.6:
        column.put(draw.choice(("Dear {}", "Hello {}", "Hi {}")).format(to.split()[0]) + ",")
    column.paragraph(_sentences(setting, 1, 3))
    if draw.random() < 0.6:
        column.skip(0.3)
        column.put(draw.choice(("Best wishes", "Regards", "Thanks", "Cheers")) + ",")
        column.put(sender.split()[0])
    questions = [
        Question(one_of(draw, "Who is the e-mail from?", "Who sent this e-mail?",
                      "Who is the sender?"), (sender,), "from"),
        Question(one_of(draw, "Who is the e-mail to?", "Who received this e-mail?",
                      "To whom was it sent?"), (to,), "to"),
        Question(one_of(draw, "What is the subject?", "What is the subject of the e-mail?",
                      "What is this e-mail about?"), (subject,), "subject"),
        Question(one_of(draw, "What is the date?", "When was the e-mail sent?",
                      "What is the date of the e-mail?"), (date,), "date"),
    ]  # fmt: skip
    if address:
        questions.append(Question("What is the e-mail address?", (address,), "address"))
    return "e-mail", f"An e-mail from {sender} to {to}.", questions


def letter(setting: Setting) -> Laid:
    """Where from, when, to whom, a text, and who signs."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES))
    sender, to = words.person(), words.person()
    city, street, date = words.any_of("cities"), words.street(), words.date()
    right = draw.random() < 0.5
    if draw.random() < 0.4:
        column.put(sender, right=right, bold=draw.random() < 0.5)
    column.put(street, right=right)
    column.put(city, right=right)
    column.skip(0.4)
    column.put(date, right=draw.random() < 0.5)
    column.skip(0.4)
    dear = draw.choice((to, to.split()[0], f"Mr {to.split()[1]}", f"Ms {to.split()[1]}"))
    column.put(f"Dear {dear},")
    column.skip(0.2)
    column.paragraph(_sentences(setting, 1, 3))
    column.skip(0.4)
    end = draw.choice(("Yours sincerely", "Yours truly", "Best wishes", "Kind regards", "Love"))
    column.put(end + ",")
    column.skip(0.2)
    column.put(sender)
    questions = [
        Question(one_of(draw, "Who wrote the letter?", "Who is the letter from?",
                      "Who signed the letter?"), (sender,), "from"),
        Question(one_of(draw, "Who is the letter to?", "To whom is the letter written?",
                      "Who is addressed in the letter?"), (dear,), "to"),
        Question(one_of(draw, "What is the date of the letter?", "When was the letter written?",
                      "What is the date?"), (date,), "date"),
        Question(one_of(draw, "Which city is the letter from?", "What is the city?",
                      "In which city was it written?"), (city,), "city"),
        Question(one_of(draw, "What is the street of the sender?", "What is the street?",
                      "What is the street address?"), (street,), "street"),
    ]  # fmt: skip
    return "letter", f"A letter from {sender} to {dear}.", questions


def notice(setting: Setting) -> Laid:
    """A heading, what it is about, and where and when."""
    draw, words = setting.draw, setting.words
    column = Column(setting, draw.choice(SIZES), centred=draw.random() < 0.4)
    title = titled(words.any_of("compounds"))
    if draw.random() < 0.35:
        title = title.upper()
    column.heading(title)
    column.skip(0.5)
    column.paragraph(_sentences(setting, 1, 2))
    column.skip(0.5)
    questions = [
        Question(one_of(draw, "What is the title?", "What is the heading of the notice?",
                      "What is the notice about?"), (title,), "title")
    ]  # fmt: skip
    facts: dict[str, tuple[tuple[str, ...], Callable[[], str], tuple[str, ...]]] = {
        "where": (("Where", "Place", "Room"), lambda: draw.choice(_PLACES)(setting),
                  ("Where does it take place?", "What is the place?", "Where is it?")),
        "when": (("When", "Date", "Day"), words.date,
                 ("When does it take place?", "What is the date?", "On which day is it?")),
        "time": (("Time", "Starts at", "Begins"), words.time,
                 ("At what time does it start?", "What is the time?", "When does it begin?")),
        "phone": (("Phone", "Call", "Tel."), words.phone,
                  ("What is the phone number?", "Which number can one call?",
                   "What number should be called?")),
        "price": (("Price", "Entry", "Tickets"), lambda: "$" + words.amount(60),
                  ("What does it cost?", "What is the price?", "How much is it?")),
        "contact": (("Contact", "Ask for", "Host"), words.person,
                    ("Who is the contact?", "Whom can one ask?", "Who is the host?")),
    }  # fmt: skip
    for name in draw.sample(list(facts), draw.randint(2, 4)):
        labels, make, asked = facts[name]
        i, value = draw.randrange(3), make()
        column.put(f"{labels[i]}: {value}", bold=draw.random() < 0.2)
        answers = (value, value[1:]) if value.startswith("$") else (value,)
        wording = asked[i if draw.random() < 0.5 else draw.randrange(2)]
        questions.append(Question(wording, answers, name))
    return "notice", f"A notice titled {title}.", questions


_PLACES: tuple[Callable[[Setting], str], ...] = (
    lambda setting: f"Room {setting.words.code()}",
    lambda setting: setting.words.street(),
    lambda setting: setting.words.any_of("cities"),
    lambda setting: f"{setting.words.known('last')} Hall",
)


def _subject(setting: Setting) -> str:
    """What an e-mail is about: a term, alone or in a phrase."""
    term = setting.words.any_of("compounds")
    frame = setting.draw.choice(
        ("{}", "{}", "{}", "New {}", "Your {}", "About the {}", "Question: {}", "Re: {}",
         "Change of {}", "Meeting: {}", "Notes on {}")
    )  # fmt: skip
    subject = frame.format(term)
    return titled(subject) if setting.draw.random() < 0.3 else subject[0].upper() + subject[1:]


def _sentences(setting: Setting, least: int, most: int) -> str:
    count = setting.draw.randint(least, most)
    return " ".join(_ended(setting.words.any_of("sentences")) for _ in range(count))


def _ended(sentence: str) -> str:
    """A sentence with a stop."""
    return sentence if sentence[-1] in ".!?" else sentence + "."
