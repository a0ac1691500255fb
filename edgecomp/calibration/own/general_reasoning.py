"""General reasoning: order, elimination, conditions, sets, plans, analogies and everyday causes.

Every answer gives its reasons first and its conclusion last.
"""

from __future__ import annotations

from random import Random

from edgecomp.calibration.own.drawn import draw

PROBLEMS_PER_TEMPLATE = 16
NAMES = ("Akira", "Beatriz", "Carlos", "Dilara", "Elena", "Femi", "Greta", "Hassan", "Ingrid",
         "Joao", "Katya", "Lamin")  # fmt: skip

CONDITIONS = """
the river floods | the bridge is closed
the alarm rings | the door opens by itself
a guest has a ticket | the guest may take the front seats
the oven is on | the red lamp is lit
the harvest is good | the price of grain falls
the lighthouse is dark | the ships stay in port
""".strip()

HOMES = "bird: nest, bee: hive, fox: den, spider: web, beaver: lodge, snail: shell"
TOOLS = "carpenter: saw, painter: brush, tailor: needle, gardener: spade, cook: ladle, smith: anvil"
PARTS = "page: book, petal: flower, brick: wall, key: keyboard, spoke: wheel, feather: wing"
OPPOSITES = "early: late, deep: shallow, generous: mean, ancient: modern, loose: tight, wet: dry"
RELATIONS = {
    "the second is the home of the first": HOMES,
    "the second is the tool of the first": TOOLS,
    "the first is a part of the second": PARTS,
    "the second is the opposite of the first": OPPOSITES,
}

CLASSES = {
    "tools for cutting": ("scissors", "axe", "razor", "saw"),
    "things that float": ("cork", "raft", "buoy", "driftwood"),
    "sources of heat": ("stove", "bonfire", "radiator", "candle flame"),
    "measuring instruments": ("ruler", "scales", "thermometer", "stopwatch"),
    "root vegetables": ("carrot", "beetroot", "radish", "turnip"),
}

CAUSES = """
Why does a wet towel dry faster on a windy day? | Water leaves the cloth as vapour, and the air next to the cloth soon holds nearly all it can. Wind carries this damp air away and brings drier air, so more water can evaporate.
A glass bottle full of water is left in the freezer overnight. What is found in the morning? | Water expands when it freezes. A closed, full bottle leaves it no room, and glass does not stretch. The bottle has most likely cracked.
The lawn is wet at dawn, but the road and the roofs are dry. Did it rain? | Rain would have wetted the road and the roofs as well. Something wetted only the grass, such as a sprinkler or dew on the cool blades. It probably did not rain.
Someone hears thunder five seconds after the flash. Is the storm overhead? | Light arrives at once; sound needs about three seconds a kilometre. Five seconds mean a bit less than two kilometres. The storm is near, but not overhead.
A cup of tea and a bucket of lukewarm water stand in a cold room. Which reaches room temperature first? | The cup is hotter, but it holds little heat and has a large surface for its volume. The bucket holds far more heat to lose. The cup gets there first.
All the lamps on one floor go out, while those on the floor above stay lit. What is the likely cause? | A failure of the whole supply would darken both floors. The fault lies in what only this floor shares: its fuse has probably tripped.
Why do people who walk on deep snow wear broad snowshoes? | The same weight spread over a larger area presses less on each spot. The snow then bears the walker, who no longer sinks in.
A shop sells twice as many umbrellas when the streets are full of puddles. Do puddles make people buy umbrellas? | Both follow from the same cause: rain. Removing the puddles would not change the sales. The two only occur together.
A coin shows heads five times in a row. Is tails now more likely? | The coin has no memory, and a fair one shows each side half of the time on every throw. Tails is exactly as likely as before.
The baker's queue is long every Saturday and short every Monday. When should a busy person go? | What counts is the waiting time, which grows with the queue. The queue is short on Mondays. Monday is the better day.
Every swan that Rosa has seen was white. May she conclude that all swans are white? | Her observations support the rule but do not prove it: she has not seen every swan. A single black one would refute it. She may only say that it is likely as far as she knows.
Two clocks disagree by ten minutes, and a third agrees with the first. Which one should be doubted? | It is less likely that two clocks are wrong by the same amount than that one is wrong alone. The second clock should be doubted, though this is no proof.
A plant by the window bends toward the glass. What happens if the pot is turned around? | The plant grows toward the light. After the turn its tip points away from the window, so new growth bends back. In some days it will lean to the window again.
A key fits the lock but does not turn. The spare key turns easily. Where is the fault? | If the lock were broken, neither key would turn. The spare one turns, so the lock works. The fault lies in the first key, which is perhaps worn.
A town bans cars from its centre, and the air in the centre improves. Outside it grows worse. What may have happened? | The traffic may not have vanished but moved. Cleaner air inside and dirtier air outside fit drivers who now go around the centre. The total should be measured before the ban is praised.
A ladder stands against a wall on a freshly waxed floor. What is the danger? | The foot of the ladder is held only by friction, and wax takes most of it away. When someone climbs, the foot may slip outward and the ladder fall.
""".strip()  # noqa: E501


def pairs() -> list[tuple[str, str]]:
    """160 problems of ten kinds, with the way to the answer."""
    templates = (
        _row, _elimination, _condition, _liars, _overlap, _plan, _balance, _analogy, _odd_one_out,
        _cause,
    )  # fmt: skip
    return draw(templates, PROBLEMS_PER_TEMPLATE)


def _row(random: Random) -> tuple[str, str]:
    a, b, c, d = random.sample(NAMES, 4)
    clues = [
        f"{b} sits directly to the right of {a}.",
        f"{d} sits at the right end.",
        f"{c} sits directly to the left of {d}.",
    ]
    random.shuffle(clues)
    return (
        f"Four people sit in a row of four seats. {' '.join(clues)} Who sits at the left end?",
        f"Number the seats from 1 on the left to 4 on the right. {d} has seat 4, so {c}, directly "
        f"to the left, has seat 3. Seats 1 and 2 remain for {a} and {b}. {b} is to the right of "
        f"{a}, so {a} has seat 1. {a} sits at the left end.",
    )


def _elimination(random: Random) -> tuple[str, str]:
    a, b, c = random.sample(NAMES, 3)
    x, y, z = random.sample(("violin", "canoe", "parrot", "telescope", "bakery", "motorbike"), 3)
    return (
        f"{a}, {b} and {c} own a {x}, a {y} and a {z}, one each. {a} owns neither the {x} nor the "
        f"{y}. {b} does not own the {y}. Who owns what?",
        f"{a} owns neither the {x} nor the {y}, so {a} owns the {z}. {b} cannot own the "
        f"{z}, which is {a}'s, and does not own the {y}; so {b} owns the {x}. What remains is the "
        f"{y}, and it belongs to {c}. {a}: {z}; {b}: {x}; {c}: {y}.",
    )


def _condition(random: Random) -> tuple[str, str]:
    cause, effect = random.choice(CONDITIONS.splitlines()).split(" | ")
    rule = f"Suppose that whenever {cause}, {effect}."
    seen, asked, answer = random.choice(
        (
            (f"{cause}", f"{effect}", "The condition holds, so what follows from it holds. Yes."),
            (
                f"it is not the case that {effect}",
                f"{cause}",
                "If the condition held, its consequence would hold as well; but it does not. So "
                "the condition does not hold. No.",
            ),
            (
                f"{effect}",
                f"{cause}",
                "The rule says what follows from the condition, not that nothing else can have the "
                "same consequence. It cannot be concluded.",
            ),
            (
                f"it is not the case that {cause}",
                f"{effect}",
                "The rule is silent about what happens without the condition; the consequence may "
                "have another cause. It cannot be concluded.",
            ),
        )
    )
    return f"{rule} Today {seen}. Does it follow that {asked}?", answer


def _liars(random: Random) -> tuple[str, str]:
    a, b = random.sample(NAMES, 2)
    said, reasons = random.choice(
        (
            (
                "We are both liars.",
                f"A truthful person could never say this, so {a} lies. The statement is therefore "
                f"false, and not both are liars. {a} is a liar and {b} tells the truth.",
            ),
            (
                "At least one of us is a liar.",
                f"If {a} lied, the statement would be true, which a liar cannot say. So {a} tells "
                f"the truth, and the liar it speaks of is {b}. {a} is truthful and {b} is a liar.",
            ),
            (
                "We are of the same kind.",
                f"If {a} is truthful, {b} is of the same kind and truthful. If {a} lies, they are "
                f"of different kinds, so {b} is truthful. {b} tells the truth in both cases; about "
                f"{a} nothing follows.",
            ),
            (
                "Exactly one of us is a liar.",
                f"If {a} is truthful, the one liar is {b}. If {a} lies, the number of liars is not "
                f"one, so {b} lies too. {b} is a liar in both cases; about {a} nothing follows.",
            ),
        )
    )
    return (
        f"On an island everybody either always tells the truth or always lies. {a} says of "
        f'{a} and {b}: "{said}" What follows?',
        reasons,
    )


def _overlap(random: Random) -> tuple[str, str]:
    both, first, second, neither = (random.randint(3, 12) for _ in range(4))
    total = both + first + second + neither
    group, one, other = random.choice(
        (
            ("members of a club", "play chess", "play cards"),
            ("travellers", "speak Greek", "speak Arabic"),
            ("neighbours", "keep hens", "keep rabbits"),
        )
    )
    return (
        f"Of {total} {group}, {both + first} {one}, {both + second} {other} and {both} do both. "
        "How many do neither?",
        f"Those who do both are counted twice in {both + first} + {both + second}. At least one of "
        f"the two is done by {both + first} + {both + second} - {both} = {both + first + second}. "
        f"The others are {total} - {both + first + second} = {neither}. {neither} do neither.",
    )


def _plan(random: Random) -> tuple[str, str]:
    first, second, alone = random.randint(2, 5), random.randint(2, 6), random.randint(3, 12)
    a, b, c = random.choice(
        (
            ("digging the trench", "laying the pipe", "painting the shed"),
            ("baking the cake", "icing it", "decorating the hall"),
            ("drying the wood", "building the frame", "sewing the sail"),
        )
    )
    done = max(first + second, alone)
    longer = f"{a} and {b}" if first + second > alone else c
    reason = "Both take equally long" if first + second == alone else f"The longer is {longer}"
    return (
        f"Two people share a job: {a} takes {first} hours, {b} takes {second} hours and can only "
        f"start afterwards, {c} takes {alone} hours and depends on nothing. Each task is one "
        "person's. When is everything done at the earliest?",
        f"One person does {a} and then {b}: {first} + {second} = {first + second} hours. The other "
        f"does {c} meanwhile: {alone} hours. {reason}, so everything is done after {done} hours.",
    )


def _balance(random: Random) -> tuple[str, str]:
    a, b, count = random.randint(2, 5), random.randint(2, 6), random.randint(2, 4)
    heavy, middle, light = random.choice(
        (
            ("melon", "mango", "apricot"),
            ("anvil", "hammer", "nail"),
            ("crate", "jar", "spoon"),
        )
    )
    return (
        f"On a balance, one {heavy} weighs as much as {a} {middle}s, and one {middle} as much as "
        f"{b} {light}s. How many {light}s balance {count} {heavy}s?",
        f"Replace step by step. {count} {heavy}s are {count} * {a} = {count * a} {middle}s. Each "
        f"{middle} is {b} {light}s: {count * a} * {b} = {count * a * b}. So {count * a * b} "
        f"{light}s balance them.",
    )


def _analogy(random: Random) -> tuple[str, str]:
    relation, table = random.choice(list(RELATIONS.items()))
    (a, b), (c, d) = random.sample([entry.split(": ") for entry in table.split(", ")], 2)
    return (
        f'Complete the analogy and say why: "{a}" is to "{b}" as "{c}" is to what?',
        f'Of "{a}" and "{b}", {relation}. The same relation leads from "{c}" to "{d}". '
        f'The answer is "{d}".',
    )


def _odd_one_out(random: Random) -> tuple[str, str]:
    (group, members), (other, strangers) = random.sample(list(CLASSES.items()), 2)
    stranger = random.choice(strangers)
    shown = [*random.sample(members, 3), stranger]
    random.shuffle(shown)
    rest = ", ".join(word for word in shown if word != stranger)
    return (
        f"Which word does not belong with the others: {', '.join(shown)}?",
        f"The others ({rest}) are {group}. The {stranger} belongs to the {other} instead. "
        f"The word that does not belong is {stranger}.",
    )


def _cause(random: Random) -> tuple[str, str]:
    question, answer = random.choice(CAUSES.splitlines()).split(" | ")
    return question, answer
