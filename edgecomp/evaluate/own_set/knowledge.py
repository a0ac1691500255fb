"""Knowledge: plain facts, to be completed by the right one of four."""

from __future__ import annotations

from random import Random

from edgecomp.evaluate.items import Item
from edgecomp.evaluate.own_set.choice import choice_item

RELATIONS: dict[str, str] = {
    "The capital of {} is": (
        "France: Paris, Germany: Berlin, Italy: Rome, Spain: Madrid, Portugal: Lisbon, "
        "Poland: Warsaw, Austria: Vienna, Hungary: Budapest, Norway: Oslo, Sweden: Stockholm, "
        "Finland: Helsinki, Denmark: Copenhagen, Greece: Athens, Turkey: Ankara, Egypt: Cairo, "
        "Kenya: Nairobi, Nigeria: Abuja, Ghana: Accra, Ethiopia: Addis Ababa, Morocco: Rabat, "
        "Japan: Tokyo, China: Beijing, South Korea: Seoul, Thailand: Bangkok, Vietnam: Hanoi, "
        "India: New Delhi, Pakistan: Islamabad, Iran: Tehran, Iraq: Baghdad, Canada: Ottawa, "
        "Australia: Canberra, New Zealand: Wellington, Brazil: Brasília, Chile: Santiago, "
        "Argentina: Buenos Aires, Peru: Lima, Colombia: Bogotá, Cuba: Havana, "
        "Mongolia: Ulaanbaatar, Nepal: Kathmandu, Bulgaria: Sofia"
    ),
    "The chemical symbol of {} is": (
        "iron: Fe, gold: Au, silver: Ag, sodium: Na, potassium: K, copper: Cu, lead: Pb, "
        "tin: Sn, mercury: Hg, tungsten: W, helium: He, calcium: Ca, magnesium: Mg, zinc: Zn"
    ),
    "The author of {} is": (
        "Hamlet: William Shakespeare, Pride and Prejudice: Jane Austen, "
        "War and Peace: Leo Tolstoy, Crime and Punishment: Fyodor Dostoevsky, "
        "Don Quixote: Miguel de Cervantes, the Odyssey: Homer, Les Misérables: Victor Hugo, "
        "Faust: Johann Wolfgang von Goethe, Moby-Dick: Herman Melville, "
        "the Divine Comedy: Dante Alighieri, The Metamorphosis: Franz Kafka, "
        "Frankenstein: Mary Shelley, Dracula: Bram Stoker, Jane Eyre: Charlotte Brontë, "
        "Great Expectations: Charles Dickens, Madame Bovary: Gustave Flaubert, "
        "One Hundred Years of Solitude: Gabriel García Márquez, Things Fall Apart: Chinua Achebe"
    ),
    "The composer of {} is": (
        "The Magic Flute: Wolfgang Amadeus Mozart, The Four Seasons: Antonio Vivaldi, "
        "Swan Lake: Pyotr Ilyich Tchaikovsky, the oratorio Messiah: George Frideric Handel, "
        "the Brandenburg Concertos: Johann Sebastian Bach, "
        "the Moonlight Sonata: Ludwig van Beethoven, The Ring of the Nibelung: Richard Wagner, "
        "the opera Aida: Giuseppe Verdi, the opera Carmen: Georges Bizet, "
        "the opera Tosca: Giacomo Puccini, Boléro: Maurice Ravel"
    ),
    "The scientist who {} was": (
        "published the general theory of relativity: Albert Einstein, "
        "arranged the elements in the periodic table: Dmitri Mendeleev, "
        "discovered penicillin: Alexander Fleming, discovered radium: Marie Curie, "
        "stated the three laws of motion: Isaac Newton, "
        "explained the origin of species by natural selection: Charles Darwin, "
        "first saw the moons of Jupiter: Galileo Galilei, "
        "put the Sun at the centre of the planets in 1543: Nicolaus Copernicus, "
        "found that planets move on ellipses: Johannes Kepler, "
        "found the laws of inheritance in peas: Gregor Mendel, "
        "wrote the equations of electromagnetism: James Clerk Maxwell, "
        "proved the incompleteness theorems: Kurt Gödel, discovered X-rays: Wilhelm Röntgen, "
        "invented the World Wide Web: Tim Berners-Lee"
    ),
    "The currency of {} is called the": (
        "Japan: yen, India: rupee, China: yuan, Russia: ruble, Poland: złoty, Sweden: krona, "
        "Thailand: baht, South Korea: won, Brazil: real, Turkey: lira, South Africa: rand, "
        "Vietnam: dong, Israel: shekel, Hungary: forint, Switzerland: franc, Mexico: peso"
    ),
    "A young {} is called a": (
        "cow: calf, horse: foal, sheep: lamb, dog: puppy, cat: kitten, goat: kid, pig: piglet, "
        "kangaroo: joey, deer: fawn, swan: cygnet, frog: tadpole, goose: gosling, hare: leveret"
    ),
    "The study of {} is called": (
        "earthquakes: seismology, birds: ornithology, insects: entomology, fish: ichthyology, "
        "fossils: paleontology, the weather: meteorology, languages: linguistics, "
        "living cells: cytology, poisons: toxicology, the human mind: psychology, caves: speleology"
    ),
}

FACTS = """
The largest planet of the solar system is | Jupiter | Saturn | Neptune | Earth
The planet closest to the Sun is | Mercury | Venus | Mars | Earth
The organ that pumps blood through the body is the | heart | liver | lung | kidney
For photosynthesis, plants take in | carbon dioxide | nitrogen | helium | methane
At sea level, water boils at | 100 degrees Celsius | 50 degrees Celsius | 150 degrees Celsius | 200 degrees Celsius
The number of legs of an insect is | six | four | eight | ten
The number of legs of a spider is | eight | four | six | ten
The hardest natural material is | diamond | granite | iron | quartz
The longest bone of the human body is the | femur | tibia | humerus | radius
The DNA molecule has the shape of a | double helix | single ring | flat sheet | hollow sphere
In one second, light travels about | 300,000 kilometres | 3,000 kilometres | 30,000 kilometres | 3,000,000 kilometres
The First World War began in | 1914 | 1905 | 1921 | 1939
The Second World War ended in | 1945 | 1918 | 1939 | 1953
The Berlin Wall fell in | 1989 | 1961 | 1975 | 1999
The French Revolution began in | 1789 | 1689 | 1815 | 1848
Humans first walked on the Moon in | 1969 | 1949 | 1959 | 1979
Columbus first crossed the Atlantic in | 1492 | 1392 | 1592 | 1607
The Titanic sank in | 1912 | 1898 | 1925 | 1936
The largest ocean is the | Pacific | Atlantic | Indian | Arctic
The longest river of South America is the | Amazon | Orinoco | Paraná | Magdalena
The highest mountain of Africa is | Kilimanjaro | Mount Kenya | Mount Meru | Toubkal
The largest hot desert on Earth is the | Sahara | Gobi | Kalahari | Atacama
The Great Barrier Reef lies off the coast of | Australia | Brazil | Japan | Madagascar
Insulin is made in the | pancreas | liver | spleen | stomach
The energy of a cell is supplied by its | mitochondria | nucleus | ribosomes | vacuoles
The most abundant gas in the air is | nitrogen | oxygen | argon | hydrogen
The chess piece that moves in an L shape is the | knight | bishop | rook | queen
The tango comes from | Argentina | Mexico | Morocco | Norway
Paella is a dish from | Spain | Greece | Poland | Korea
The Mona Lisa was painted by | Leonardo da Vinci | Michelangelo | Raphael | Rembrandt
The Starry Night was painted by | Vincent van Gogh | Claude Monet | Paul Cézanne | Edvard Munch
Guernica was painted by | Pablo Picasso | Salvador Dalí | Henri Matisse | Joan Miró
A shape with eight sides is called | an octagon | a hexagon | a pentagon | a decagon
A lack of vitamin C causes | scurvy | rickets | beriberi | goitre
The freezing point of water on the Fahrenheit scale is | 32 degrees | 0 degrees | 100 degrees | 212 degrees
The language with the most native speakers in Brazil is | Portuguese | Spanish | English | French
The instrument with 88 keys is the | piano | violin | trumpet | guitar
The metal that is liquid at room temperature is | mercury | lead | tin | aluminium
The part of a plant that takes up water from the soil is the | root | flower | leaf | seed
The sea between Europe and Africa is the | Mediterranean | Baltic | Caribbean | Caspian
The Industrial Revolution began in | Great Britain | Japan | Egypt | Russia
The Thirty Years' War was ended by the Peace of | Westphalia | Augsburg | Utrecht | Tilsit
The author of The Master and Margarita is | Mikhail Bulgakov | Boris Pasternak | Ivan Turgenev | Maxim Gorky
The element with atomic number 74 is | tungsten | tantalum | rhenium | osmium
The capital of Burkina Faso is | Ouagadougou | Bamako | Niamey | Lomé
The capital of Kyrgyzstan is | Bishkek | Dushanbe | Tashkent | Ashgabat
The largest moon of Saturn is | Titan | Rhea | Ganymede | Triton
The Critique of Pure Reason was written by | Immanuel Kant | David Hume | Baruch Spinoza | Arthur Schopenhauer
The enzyme that unwinds DNA during replication is | helicase | ligase | polymerase | primase
The mineral of hardness 9 on the Mohs scale is | corundum | topaz | quartz | apatite
The Battle of Hastings took place in | 1066 | 1016 | 1106 | 1215
The currency of the country of Georgia is the | lari | dram | manat | som
The longest river of Europe is the | Volga | Danube | Dnieper | Rhine
Las Meninas was painted by | Diego Velázquez | Francisco Goya | El Greco | Bartolomé Murillo
The founder of the Mongol Empire was | Genghis Khan | Kublai Khan | Tamerlane | Attila
The stapes is a bone of the | ear | foot | hand | spine
The hormone that raises blood sugar is | glucagon | insulin | melatonin | prolactin
The deepest lake on Earth is | Lake Baikal | Lake Tanganyika | Lake Superior | Lake Victoria
The SI unit of magnetic flux density is the | tesla | weber | henry | farad
The Ottomans took Constantinople in | 1453 | 1389 | 1492 | 1529
The Rite of Spring was composed by | Igor Stravinsky | Sergei Prokofiev | Dmitri Shostakovich | Sergei Rachmaninoff
The largest island of the Mediterranean is | Sicily | Sardinia | Cyprus | Crete
Dynamite was invented by | Alfred Nobel | Thomas Edison | James Watt | Robert Bunsen
Iceland lies on the | Mid-Atlantic Ridge | San Andreas Fault | Ring of Fire | Great Rift Valley
The gas that gives Neptune its blue colour is | methane | ammonia | helium | oxygen
The parliament of Norway is called the | Storting | Riksdag | Folketing | Althing
Continental drift was proposed in 1912 by | Alfred Wegener | Charles Lyell | James Hutton | Louis Agassiz
The novel that begins with the words "Call me Ishmael" is | Moby-Dick | Robinson Crusoe | Treasure Island | Lord Jim
The kingdom of Lesotho is surrounded by | South Africa | Namibia | Botswana | Mozambique
The programming language Python was created by | Guido van Rossum | Dennis Ritchie | James Gosling | Bjarne Stroustrup
The unit of electrical resistance is the | ohm | volt | watt | ampere
""".strip()  # noqa: E501


def items(random: Random) -> list[Item]:
    """The facts of both tables, three wrong answers each."""
    made: list[Item] = []
    for statement, table in RELATIONS.items():
        pairs = [entry.split(": ") for entry in table.split(", ")]
        for subject, right in pairs:
            wrong = random.sample([other for _, other in pairs if other != right], 3)
            prompt = statement.format(subject)
            made.append(_item(random, prompt, right, wrong))
    for line in FACTS.splitlines():
        statement, right, *wrong = line.split(" | ")
        made.append(_item(random, statement, right, wrong))
    return made


def _item(random: Random, prompt: str, right: str, wrong: list[str]) -> Item:
    return choice_item(
        random,
        "knowledge",
        prompt,
        prompt,
        (f" {right}", *([f" {text}" for text in wrong])),
        "per-byte",
    )
