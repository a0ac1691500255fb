"""Mathematics: problems with every step of the solution written out (R32).

Each step has the form `expression = number`, which a test computes again.
"""

from __future__ import annotations

from math import gcd, lcm
from random import Random

from edgecomp.calibration.own.drawn import draw

PROBLEMS_PER_TEMPLATE = 18
NAMES = ("Amara", "Bruno", "Chiara", "Daniel", "Elif", "Fatou", "Goran", "Hana", "Igor", "Jamila",
         "Kenji", "Leila", "Mateo", "Nadia", "Oscar", "Priya")  # fmt: skip
CLOCK_MINUTES = 24 * 60


def pairs() -> list[tuple[str, str]]:
    """288 problems of sixteen kinds, and their solutions."""
    templates = (
        _journey, _discount, _fence, _change, _missing_score, _ages, _tank, _recipe, _equation,
        _savings, _packs, _doubling, _clock, _drawing, _interest, _buses,
    )  # fmt: skip
    return draw(templates, PROBLEMS_PER_TEMPLATE)


def _journey(random: Random) -> tuple[str, str]:
    fast, slow = random.randrange(70, 125, 5), random.randrange(30, 65, 5)
    first, second = random.randint(2, 5), random.randint(2, 4)
    vehicle = random.choice(("coach", "lorry", "motorcyclist", "delivery van"))
    return (
        f"A {vehicle} drives for {first} hours at {fast} km/h on the motorway and then for "
        f"{second} hours at {slow} km/h through the hills. How many kilometres is the journey?",
        f"Distance is speed times time.\nMotorway: {fast} * {first} = {fast * first} km.\n"
        f"Hills: {slow} * {second} = {slow * second} km.\n"
        f"Together: {fast * first} + {slow * second} = {fast * first + slow * second} km.\n"
        f"The answer is {fast * first + slow * second}.",
    )


def _discount(random: Random) -> tuple[str, str]:
    price, percent = random.randrange(40, 400, 20), random.choice((5, 10, 15, 20, 25, 30, 35, 40))
    off = price * percent // 100
    goods = random.choice(("coat", "desk lamp", "pair of boots", "tent", "kettle", "rucksack"))
    return (
        f"A {goods} costs {price} euros. In the sale it is {percent} % cheaper. "
        "What is the sale price in euros?",
        f"The reduction is {percent} % of {price}: {price} * {percent} / 100 = {off}.\n"
        f"The sale price is {price} - {off} = {price - off}.\nThe answer is {price - off}.",
    )


def _fence(random: Random) -> tuple[str, str]:
    length, width, cost = random.randint(9, 30), random.randint(4, 8), random.randint(6, 19)
    around = 2 * (length + width)
    plot = random.choice(("vegetable bed", "meadow", "chicken run", "playground"))
    return (
        f"A rectangular {plot} is {length} m long and {width} m wide. A fence around it costs "
        f"{cost} dollars a metre. What does the whole fence cost?",
        f"The fence follows all four sides: 2 * ({length} + {width}) = {around} m.\n"
        f"It costs {around} * {cost} = {around * cost} dollars.\nThe answer is {around * cost}.",
    )


def _change(random: Random) -> tuple[str, str]:
    name = random.choice(NAMES)
    first, second = random.sample(("notebooks", "candles", "lemons", "postcards", "buttons"), 2)
    a, b, x, y = (random.randint(2, 6) for _ in range(4))
    spent = a * x + b * y
    paid = 50 if spent < 50 else 100
    return (
        f"{name} buys {a} {first} at {x} dollars each and {b} {second} at {y} dollars each, and "
        f"pays with {paid} dollars. How much change is due?",
        f"The {first} cost {a} * {x} = {a * x} dollars.\n"
        f"The {second} cost {b} * {y} = {b * y} dollars.\n"
        f"Both together cost {a * x} + {b * y} = {spent} dollars.\n"
        f"The change is {paid} - {spent} = {paid - spent} dollars.\nThe answer is {paid - spent}.",
    )


def _missing_score(random: Random) -> tuple[str, str]:
    name, mean = random.choice(NAMES), random.randint(70, 85)
    scores = [mean + random.randint(-12, 8) for _ in range(3)]
    total, wanted = sum(scores), 4 * mean
    return (
        f"{name} scored {scores[0]}, {scores[1]} and {scores[2]} points in three tests. Which "
        f"score in the fourth test gives an average of exactly {mean}?",
        f"Four tests with an average of {mean} add up to 4 * {mean} = {wanted} points.\n"
        f"So far there are {scores[0]} + {scores[1]} + {scores[2]} = {total} points.\n"
        f"The fourth test must give {wanted} - {total} = {wanted - total} points.\n"
        f"The answer is {wanted - total}.",
    )


def _ages(random: Random) -> tuple[str, str]:
    elder, younger = random.sample(NAMES, 2)
    times, age, years = random.randint(2, 5), random.randint(6, 15), random.randint(2, 9)
    total = (times + 1) * age
    return (
        f"{elder} is {times} times as old as {younger}. Together they are {total} years old. How "
        f"old will {younger} be in {years} years?",
        f"Let x be the age of {younger}; {elder} is then {times}x, and both together are "
        f"{times + 1}x.\n{times + 1}x is {total}, so x is {total} / {times + 1} = {age}.\n"
        f"In {years} years: {age} + {years} = {age + years}.\nThe answer is {age + years}.",
    )


def _tank(random: Random) -> tuple[str, str]:
    leak, net, minutes = random.randint(1, 4), random.randint(5, 12), random.randint(8, 40)
    return (
        f"A pump puts {net + leak} litres a minute into an empty tank of {net * minutes} litres, "
        f"while {leak} litres a minute run out through a crack. After how many minutes is the tank "
        "full?",
        f"Each minute the tank gains {net + leak} - {leak} = {net} litres.\n"
        f"It is full after {net * minutes} / {net} = {minutes} minutes.\nThe answer is {minutes}.",
    )


def _recipe(random: Random) -> tuple[str, str]:
    people, guests = random.sample((2, 3, 4, 5, 6, 8, 9, 10), 2)
    each = random.randrange(20, 130, 10)
    what = random.choice(("rice", "flour", "lentils", "potatoes", "noodles"))
    return (
        f"A recipe for {people} people takes {each * people} g of {what}. How many grams are "
        f"needed for {guests} people?",
        f"One person needs {each * people} / {people} = {each} g.\n"
        f"For {guests} people that is {each} * {guests} = {each * guests} g.\n"
        f"The answer is {each * guests}.",
    )


def _equation(random: Random) -> tuple[str, str]:
    a, x, b = random.randint(3, 12), random.randint(2, 15), random.randint(2, 40)
    total = a * x + b
    return (
        f"Solve for x: {a}x + {b} = {total}.",
        f"Subtract {b} on both sides: {a}x is {total} - {b} = {a * x}.\n"
        f"Divide both sides by {a}: x is {a * x} / {a} = {x}.\n"
        f"Check: {a} * {x} + {b} = {total}.\nThe answer is {x}.",
    )


def _savings(random: Random) -> tuple[str, str]:
    name, a, b, unit = (
        random.choice(NAMES), random.randint(2, 5), random.randint(2, 4), random.randint(3, 15),
    )  # fmt: skip
    start = a * b * unit
    rest = start - start // a
    return (
        f"{name} has saved {start} dollars, spends 1/{a} of it on a gift, and then 1/{b} of what "
        "remains on a train ticket. How many dollars are left?",
        f"The gift costs {start} / {a} = {start // a}, which leaves "
        f"{start} - {start // a} = {rest}.\n"
        f"The ticket costs {rest} / {b} = {rest // b}, which leaves "
        f"{rest} - {rest // b} = {rest - rest // b}.\nThe answer is {rest - rest // b}.",
    )


def _packs(random: Random) -> tuple[str, str]:
    small, large = random.randint(3, 6), random.randint(8, 14)
    cheap = random.randint(21, 60)
    dear = cheap + random.randint(3, 15)
    return (
        f"A pack of {small} batteries costs {small * dear} cents, a pack of {large} costs "
        f"{large * cheap} cents. By how many cents a battery is the larger pack cheaper?",
        f"Small pack: {small * dear} / {small} = {dear} cents each.\n"
        f"Large pack: {large * cheap} / {large} = {cheap} cents each.\n"
        f"The difference is {dear} - {cheap} = {dear - cheap} cents.\n"
        f"The answer is {dear - cheap}.",
    )


def _doubling(random: Random) -> tuple[str, str]:
    start, days, times = random.randint(3, 25), random.randint(2, 6), random.randint(3, 5)
    chain, value = [], start
    for _ in range(times):
        chain.append(f"{value} * 2 = {2 * value}")
        value *= 2
    return (
        f"A colony of {start} cells doubles every {days} days. How many cells are there after "
        f"{days * times} days?",
        f"In {days * times} days it doubles {days * times} / {days} = {times} times.\n"
        + "\n".join(chain)
        + f"\nThe answer is {value}.",
    )


def _clock(random: Random) -> tuple[str, str]:
    start, lasts = random.randrange(8 * 60, 20 * 60, 5), random.randrange(65, 200, 5)
    hours, minutes = divmod(lasts, 60)
    end = (start + lasts) % CLOCK_MINUTES
    what = random.choice(("film", "concert", "lecture", "rehearsal", "ferry crossing"))
    return (
        f"A {what} begins at {start // 60}:{start % 60:02} and lasts {lasts} minutes. At what time "
        "does it end?",
        f"Since midnight, {start // 60} * 60 + {start % 60} = {start} minutes have passed at the "
        f"beginning, and {start} + {lasts} = {start + lasts} at the end ({lasts} minutes are "
        f"{hours} h {minutes} min).\n{start + lasts} minutes are {end // 60} full hours and "
        f"{start + lasts} - {end // 60} * 60 = {end % 60} minutes.\n"
        f"The answer is {end // 60}:{end % 60:02}.",
    )


def _drawing(random: Random) -> tuple[str, str]:
    red, green, white = (random.randint(2, 9) for _ in range(3))
    total, good = red + green + white, red + green
    common = gcd(good, total)
    reduced = f"{good // common}/{total // common}"
    return (
        f"A bag holds {red} red, {green} green and {white} white balls. One is drawn without "
        "looking. What is the probability that it is not white?",
        f"There are {red} + {green} + {white} = {total} balls.\n"
        f"Not white are {red} + {green} = {good} of them.\n"
        f"The probability is {good}/{total}"
        + (f", reduced by {common}: {reduced}" if common > 1 else "")
        + f".\nThe answer is {reduced}.",
    )


def _interest(random: Random) -> tuple[str, str]:
    principal = random.randrange(200, 2000, 100)
    rate, years = random.randint(2, 7), random.randint(2, 6)
    year = principal * rate // 100
    return (
        f"{random.choice(NAMES)} lends {principal} dollars at {rate} % simple interest a year. "
        f"How much must be paid back in all after {years} years?",
        f"One year's interest is {principal} * {rate} / 100 = {year}.\n"
        f"In {years} years that makes {year} * {years} = {year * years}.\n"
        f"With the sum itself: {principal} + {year * years} = {principal + year * years}.\n"
        f"The answer is {principal + year * years}.",
    )


def _buses(random: Random) -> tuple[str, str]:
    a, b = sorted(random.sample((6, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 24), 2))
    both = lcm(a, b)
    line, other = random.sample(range(1, 60), 2)
    return (
        f"Bus {line} leaves every {a} minutes and bus {other} every {b} minutes. Both leave now. "
        "After how many minutes do they next leave together?",
        f"The time must be a multiple of {a} and of {b}, the smallest one that is both.\n"
        f"Their greatest common divisor is {gcd(a, b)}, so the least common multiple is "
        f"{a} * {b} / {gcd(a, b)} = {both}.\nThe answer is {both}.",
    )
