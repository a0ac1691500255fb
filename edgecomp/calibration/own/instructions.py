"""Instructions: diverse things people ask an assistant to do (R34), each with a good response.

Half are written one by one, half are filled from templates whose right response is computed.
"""

from __future__ import annotations

import json
from random import Random

from edgecomp.calibration.own.drawn import draw

FILLED_PER_TEMPLATE = 8

WRITTEN = """
Suggest a name for a small bakery by the harbour. | The Salted Loaf
Give me three tips for packing a suitcase. | 1. Roll soft clothes instead of folding them.\\n2. Put shoes at the bottom and fill them with socks.\\n3. Leave a little room for what you will bring home.
Rewrite this more politely: "Send me the file now." | Could you please send me the file when you have a moment? I would need it today.
Summarize in one sentence: "The council met on Tuesday. After two hours of debate it approved the new cycle path along the canal, which will cost 1.2 million and open next spring." | The council approved a 1.2 million cycle path along the canal that will open next spring.
Explain to a child why we brush our teeth. | Tiny germs in your mouth love the sugar that sticks to your teeth. When they eat it, they make acid, and acid makes holes. Brushing sweeps the sugar and the germs away.
Write a four-line poem about a lighthouse. | It counts the seconds, turns its head,\\nand lays a road of light ahead;\\nthe ships that never learn its name\\ncome safely home by it all the same.
What should I ask before I rent a flat? | Ask what the rent includes, how the flat is heated and what that cost last year, how long the lease runs, how much the deposit is, and who repairs what. Visit once in the evening to hear the neighbourhood.
Turn this into a list: we need eggs, two litres of milk, flour and some nutmeg. | - eggs\\n- milk (2 litres)\\n- flour\\n- nutmeg
Write a short thank-you note to a neighbour who watered my plants. | Dear Ruth,\\n\\nthe balcony has never looked so green. Thank you for watering everything while I was away! Please come over for coffee on Sunday, there will be cake.\\n\\nWarmly, Tom
Give an argument for and one against school uniforms. | For: uniforms hide differences in wealth, so that clothes cause less envy. Against: they take from pupils one of the few ways to express themselves.
Correct the spelling: "I recieved you're letter yesterday and was realy pleased." | I received your letter yesterday and was really pleased.
Describe the taste of a lemon without using the word "sour". | First comes a bright sting that narrows the eyes and makes the mouth water, then a clean, flowery freshness with a trace of bitterness from the peel.
How do I boil an egg so that the yolk stays soft? | Lower the egg from the fridge into boiling water, wait six and a half minutes, and cool it at once under cold water.
Which of these is a fruit: carrot, pear, spinach? | The pear is a fruit.
Write a headline for a story about a cat that travelled 300 km by train. | Stowaway Cat Rides 300 Kilometres by Rail, and Finds a Seat by the Window
Draft a polite refusal of a party invitation. | Dear Nora, thank you for inviting me! I would have loved to celebrate with you, but I am away that weekend. I hope the evening is a joy, and I would like to toast with you when I am back.
List the steps to change a bicycle tube. | 1. Take the wheel out.\\n2. Lift one side of the tyre off the rim with levers.\\n3. Pull the old tube out and search the tyre for what pierced it.\\n4. Pump a little air into the new tube and put it in.\\n5. Press the tyre back by hand.\\n6. Inflate it and mount the wheel.
Give me a metaphor for patience. | Patience is a river that does not argue with the stone and still has its way.
What are good questions for a job interview with a librarian? | How would you help a reader who does not know what to look for? How do you decide which books must go? Tell me about a conflict in a reading room and how you settled it.
Translate into plain English: "The lessee shall be liable for any and all damages arising from misuse." | The person who rents must pay for any damage that comes from using the thing wrongly.
Convert this sentence to the passive voice: "The storm destroyed the old mill." | The old mill was destroyed by the storm.
Invent a riddle whose solution is a shadow. | I follow you all day and never tire, grow tall at evening and vanish at night; you cannot catch me, nor can I leave you. What am I?
Recommend a plan for a first visit to an art museum with little time. | Choose two rooms, not twenty. Walk through each once without stopping, go back to the three works that stayed with you, and give each ten minutes. End in the café and tell somebody about them.
Write a product description for a wooden spoon in two sentences. | Carved from a single piece of cherry wood, this spoon lies in the hand as if it had always been there. It stirs, tastes and scrapes without scratching your pans.
Explain the difference between "affect" and "effect". | "Affect" is mostly a verb and means to influence: the cold affects the battery. "Effect" is mostly a noun and means a result: the cold has an effect on it.
Give feedback on this sentence from an application: "I am a hard worker and a team player." | It could stand in any application. Replace the claims by evidence: say what you achieved, with whom, and how one can see that it was hard.
Continue the story: "When the lift stopped between two floors, the old woman began to laugh." | "Forty years I have lived here," she said, "and never had time to talk to anyone." She took two apples from her bag and gave me one. When they freed us an hour later, we asked them to close the door again.
Make a three-day meal plan without meat. | Day 1: lentil soup with bread.\\nDay 2: vegetable curry with rice.\\nDay 3: pasta with tomatoes, olives and feta.
What is the main idea of the proverb "Many hands make light work"? | A task is easier when many people share it.
Write a reminder to colleagues to label their food in the shared fridge. | Dear all, please write your name and a date on what you put into the fridge. On Friday afternoon everything without a label goes. Thank you for keeping it a friendly place!
Compare trains and planes for a trip of 500 km in three points. | Time: the plane flies one hour, but check-in makes it about as long as the train. Comfort: the train offers room to walk and work. Climate: the train emits a fraction of the carbon dioxide.
Fill in the blank with one word: "She opened the window to let in some fresh ___." | air
Order these events: dessert, soup, main course. | Soup, main course, dessert.
Act as a tour guide and greet a group in front of an old town hall. | Welcome, everyone! Behind me you see six hundred years of arguments under one roof: our town hall. Look at the clock first: it has been four minutes fast since 1711, so that the councillors would be on time.
Suggest a way to remember the order of the colours of the rainbow. | Take the first letters of red, orange, yellow, green, blue, indigo and violet: "Rabbits On Your Grass Bring Incredible Vegetables".
Explain how to fold a paper boat to someone on the phone. | Take a sheet upright and fold the top edge down to the bottom. Fold the two upper corners to the middle. Fold each bottom strip up on its side. Open the hat like a pocket and press it flat to a square. Fold both lower corners up, open it again, and pull the two tips apart.
I feel nervous before my first day at work. What can I do? | That is natural, and it passes. Lay out your clothes tonight, try the way beforehand, and arrive ten minutes early. Prepare one question for a colleague; nobody expects answers from you on the first day.
Write a limerick about a clumsy gardener. | A gardener, eager but rash,\\nfell into the beans with a crash;\\nhe rose with a grin,\\na bean on his chin,\\nand sold them as "harvested mash".
Find the error: "There is seven days in a week." | The verb must agree with the plural subject: "There are seven days in a week."
Give me a one-line description of what a thermostat does. | A thermostat switches heating or cooling on and off to hold a chosen temperature.
Create a short dialogue between a customer and a shoemaker. | Customer: Can these boots be saved?\\nShoemaker: The leather, yes. The soles have seen too many roads.\\nCustomer: How long will it take?\\nShoemaker: Come on Thursday, and they will be ready for as many again.
What could be the reason that my bread does not rise? | The yeast may be old, the water too hot or the room too cold; too much salt slows it as well. Dissolve a little yeast in lukewarm water with sugar: if it does not foam in ten minutes, buy fresh yeast.
Name an animal for each of these letters: B, M, T. | B: badger\\nM: marmot\\nT: toad
Shorten to at most eight words: "Due to the fact that it was raining heavily, we decided to stay at home." | Because of heavy rain, we stayed home.
Is it better to write the introduction of an essay first or last? | Often last. You know what you introduce only when the rest is written. Start with a rough version to find the direction, and replace it at the end.
Give me the opposite of each word: begin, rough, visible. | begin: end\\nrough: smooth\\nvisible: invisible
Write an out-of-office message for one week. | Thank you for your message. I am away until Monday, 14 July, and will answer after that. In urgent matters, please write to office@example.org.
State the pros of learning a musical instrument as an adult, in bullet points. | - You choose the music yourself.\\n- Practice trains memory and patience.\\n- Playing with others brings new friends.\\n- Progress needs no examination.
""".strip()  # noqa: E501

PEOPLE = ("Olga", "Pedro", "Yusuf", "Mei", "Anneke", "Tariq", "Lucia", "Sven", "Noor", "Ivan")
CITIES = ("Porto", "Tampere", "Lyon", "Izmir", "Gdańsk", "Kyoto", "Accra", "Quito", "Bergen")
JOBS = ("nurse", "translator", "carpenter", "pilot", "botanist", "cellist", "baker")
GOODS = ("teapot", "blanket", "lantern", "umbrella", "notebook", "mug", "cushion", "clock", "vase")
NOUNS = ("maple", "otter", "comet", "velvet", "anchor", "pebble", "saffron", "walnut", "thistle")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def pairs() -> list[tuple[str, str]]:
    """48 written pairs, and eight of each of six templates."""
    written = [tuple(line.replace("\\n", "\n").split(" | ")) for line in WRITTEN.splitlines()]
    templates = (_to_json, _to_table, _alphabetical, _reschedule, _addresses, _cheapest)
    return [(ask, answer) for ask, answer in written] + draw(templates, FILLED_PER_TEMPLATE)


def _to_json(random: Random) -> tuple[str, str]:
    name, city, job = random.choice(PEOPLE), random.choice(CITIES), random.choice(JOBS)
    age = random.randint(21, 68)
    fields = {"name": name, "age": age, "city": city, "job": job}
    return (
        "Extract name, age, city and job as JSON, and reply with nothing else: "
        f'"{name}, a {job} of {age}, has moved to {city}."',
        json.dumps(fields, ensure_ascii=False),
    )


def _to_table(random: Random) -> tuple[str, str]:
    prices = {thing: random.randint(4, 90) for thing in random.sample(GOODS, 3)}
    listed = ", ".join(f"the {thing} costs {price} euros" for thing, price in prices.items())
    rows = "\n".join(f"| {thing} | {price} |" for thing, price in prices.items())
    return (
        f"Make a Markdown table with the columns item and price: {listed}.",
        f"| item | price (euros) |\n|---|---|\n{rows}",
    )


def _alphabetical(random: Random) -> tuple[str, str]:
    words = random.sample(NOUNS, 5)
    numbered = "\n".join(f"{i}. {word}" for i, word in enumerate(sorted(words), start=1))
    return f"Sort alphabetically and number the lines: {', '.join(words)}.", numbered


def _reschedule(random: Random) -> tuple[str, str]:
    writer, reader = random.sample(PEOPLE, 2)
    old, new = random.sample(WEEKDAYS, 2)
    hour = random.randint(9, 16)
    return (
        f"Write a brief e-mail from {writer} to {reader}: the meeting on {old} cannot take place, "
        f"propose {new} at {hour}:00.",
        f"Subject: Our meeting on {old}\n\nDear {reader},\n\nunfortunately I cannot make our "
        f"meeting on {old}. Would {new} at {hour}:00 suit you instead? I am sorry for the trouble."
        f"\n\nKind regards\n{writer}",
    )


def _addresses(random: Random) -> tuple[str, str]:
    first, second = random.sample(PEOPLE, 2)
    house, room = random.sample(NOUNS, 2)
    mails = [f"{first.lower()}@{house}.example", f"{second.lower()}@{room}.example"]
    return (
        f'List the e-mail addresses in this text: "Write to {mails[0]} for tickets. {second} '
        f'({mails[1]}) answers questions about the venue, room 12."',
        "\n".join(mails),
    )


def _cheapest(random: Random) -> tuple[str, str]:
    things = random.sample(GOODS, 3)
    prices = random.sample(range(5, 60), 3)
    offered = "; ".join(
        f"{thing}: {price} dollars" for thing, price in zip(things, prices, strict=True)
    )
    cheapest = things[prices.index(min(prices))]
    return (
        f"From this price list, name the cheapest item in one full sentence. {offered}",
        f"The cheapest item is the {cheapest}, at {min(prices)} dollars.",
    )
