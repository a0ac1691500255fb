"""Words that the generated problems are made of, and sentences to be completed."""

from __future__ import annotations

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas")
THINGS = ("apples", "books", "coins", "stamps", "marbles", "pencils", "shells", "stickers")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DIRECTIONS = ("north", "east", "south", "west")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("day", "night"), ("open", "closed"),
    ("fast", "slow"), ("happy", "sad"), ("wet", "dry"), ("early", "late"), ("full", "empty"),
    ("young", "old"), ("light", "dark"), ("left", "right"), ("hard", "soft"), ("rich", "poor"),
    ("loud", "quiet"), ("strong", "weak"), ("near", "far"), ("clean", "dirty"), ("thick", "thin"),
)  # fmt: skip
SEQUENCES: tuple[tuple[str, ...], ...] = (
    DAYS,
    ("January", "February", "March", "April", "May", "June", "July", "August", "September",
     "October", "November", "December"),
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
     "twelve"),
    ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
     "tenth"),
    tuple("abcdefghijklmnopqrstuvwxyz"),
)  # fmt: skip
KINDS = ("blips", "norps", "tavs", "wugs", "zims", "flims", "grons", "plims")
ADJECTIVES = (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"),
              ("faster", "fastest", "slowest"), ("heavier", "heaviest", "lightest"))  # fmt: skip
GROUPS = {
    "fruit": ("apple", "pear", "plum", "cherry", "grape", "lemon"),
    "animals": ("horse", "sheep", "rabbit", "goat", "camel", "tiger"),
    "tools": ("hammer", "saw", "chisel", "pliers", "drill", "wrench"),
    "furniture": ("table", "chair", "wardrobe", "shelf", "bed", "desk"),
    "instruments": ("violin", "flute", "trumpet", "piano", "drum", "guitar"),
    "clothes": ("shirt", "jacket", "sock", "glove", "hat", "scarf"),
}
EFFECTS = """
The glass fell on the stone floor, so it | broke into pieces | began to sing | became longer
It rained all night, so in the morning the street was | wet | on fire | made of wood
She was very hungry, so she | ate a sandwich | washed her hair | sold a bicycle
The ice lay in the sun, so it | melted | froze harder | turned green
He forgot his umbrella in the rain, so his clothes | got wet | got younger | lost their owner
The battery was empty, so the phone | did not turn on | rang all day | became heavier
She studied hard for the test, so she | passed it | lost her shoes | missed her lunch
The road was icy, so the driver | slowed down | took off his shirt | opened an umbrella
The baby was tired, so it | fell asleep | drove to work | wrote a letter
The soup was too hot, so he | waited before eating | ate it at once | put it on his feet
The room was dark, so she | turned on the lamp | closed her eyes | painted the chairs
The plant got no water for weeks, so it | dried up | grew quickly | moved away
He ran up ten flights of stairs, so he was | out of breath | cold and bored | very rich
The dog saw a cat, so it | began to bark | read a book | put on a coat
The window was open in winter, so the room was | cold | hot | full of fish
She lost her key, so she could not | open the door | eat an apple | count to ten
The bus came late, so they | arrived late | arrived early | flew home
He cut his finger, so he put on | a bandage | a record | a kettle
The milk stood in the heat for days, so it | turned sour | turned into gold | froze
The music was too loud, so the neighbours | complained | fell into the water | grew taller
The tyre was flat, so the bicycle | was hard to ride | went faster | could fly
There was no wind, so the kite | stayed on the ground | rose to the clouds | sailed across the sea
The oven was far too hot, so the cake | burned | stayed raw | turned to ice
He put on his glasses, so he could | read the sign | hear the bell | smell the flowers
The shop was closed, so she | came back the next day | bought three loaves | paid at the till
The stone was thrown into the lake, so it | sank | swam ashore | caught fire
The sun went down, so it became | dark | bright | noon
He drank a lot of coffee, so at night he | could not sleep | slept at once | turned brown
The bridge was closed, so the cars | took another road | drove across it | were repainted
The balloon touched a needle, so it | burst | grew | laughed
The fridge was empty, so they | went shopping | cooked a big meal | threw food away
She won the race, so she | got a medal | was sent home first | lost her name
The snow was deep, so the children | built a snowman | went swimming | picked cherries
The alarm clock did not ring, so he | woke up too late | got up too early | broke his leg
The pen had no ink, so she | took another pen | wrote a long letter | drank some water
The path was steep, so they | walked slowly | ran up in a second | slept in the air
Smoke came out of the house, so someone | called the fire brigade | went to the dentist | planted a tree
The shoes were too small, so his feet | hurt | grew wings | felt free
The library was quiet, so she could | read in peace | not hear herself for noise | dance on the tables
He told a good joke, so everybody | laughed | wept | left the country
""".strip()  # noqa: E501
