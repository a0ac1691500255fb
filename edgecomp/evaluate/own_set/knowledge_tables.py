"""The facts that are asked: relations by difficulty, events with their year, and single statements.

A relation's wrong answers are other answers of its table; of a hard one, the nearest, so that
tables there are in the order of the map or of time.
"""

from __future__ import annotations

EASY: dict[str, str] = {
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
    "The {} is a kind of": (
        "robin: bird, eagle: bird, penguin: bird, owl: bird, sparrow: bird, salmon: fish, "
        "trout: fish, shark: fish, herring: fish, ant: insect, bee: insect, beetle: insect, "
        "butterfly: insect, mosquito: insect, oak: tree, pine: tree, birch: tree, maple: tree, "
        "rose: flower, tulip: flower, daisy: flower, sunflower: flower, carrot: vegetable, "
        "cabbage: vegetable, spinach: vegetable, onion: vegetable, melon: fruit, banana: fruit, "
        "grape: fruit, strawberry: fruit, violin: musical instrument, flute: musical instrument, "
        "trumpet: musical instrument, hammer: tool, screwdriver: tool, saw: tool, "
        "poodle: dog, beagle: dog, cobra: snake, python: snake, cheddar: cheese, "
        "sofa: furniture, wardrobe: furniture, bus: vehicle, lorry: vehicle, tram: vehicle"
    ),
    "You use {} to": (
        "scissors: cut paper, an umbrella: keep off the rain, a ladder: climb up, a pen: write, "
        "a thermometer: measure temperature, a broom: sweep the floor, a kettle: boil water, "
        "a key: open a lock, a clock: tell the time, a camera: take pictures, "
        "a needle: sew cloth, a spoon: eat soup, a pillow: rest your head, "
        "a telescope: look at the stars, an axe: chop wood, a towel: dry yourself, "
        "a fridge: keep food cold, a map: find the way, a shovel: dig a hole, "
        "a brake: stop a car, a comb: tidy your hair, a lamp: light a room"
    ),
    "The place where a {} works is a": (
        "teacher: school, surgeon: hospital, cook: kitchen, librarian: library, judge: court, "
        "baker: bakery, miner: mine, cashier: shop, physicist: laboratory, mechanic: garage, "
        "waiter: restaurant, gardener: garden, actor: theatre, farmer: farm"
    ),
    "The continent on which {} lies is": (
        "France: Europe, Germany: Europe, Spain: Europe, Poland: Europe, Italy: Europe, "
        "Kenya: Africa, Nigeria: Africa, Ghana: Africa, Morocco: Africa, Zambia: Africa, "
        "China: Asia, India: Asia, Japan: Asia, Thailand: Asia, Vietnam: Asia, "
        "Brazil: South America, Peru: South America, Chile: South America, "
        "Argentina: South America, Canada: North America, Mexico: North America"
    ),
    "The main language of {} is": (
        "France: French, Germany: German, Spain: Spanish, Italy: Italian, Japan: Japanese, "
        "Poland: Polish, Greece: Greek, Turkey: Turkish, Sweden: Swedish, Russia: Russian, "
        "Hungary: Hungarian, Portugal: Portuguese, Denmark: Danish, Thailand: Thai, "
        "Vietnam: Vietnamese, Australia: English"
    ),
    "The usual colour of {} is": (
        "snow: white, blood: red, coal: black, grass: green, a ripe banana: yellow, "
        "the clear sky at noon: blue, chocolate: brown, a carrot: orange, milk: white, "
        "an emerald: green, a ruby: red, a lemon: yellow"
    ),
    "We {} with the": (
        "see: eyes, hear: ears, smell: nose, taste: tongue, breathe: lungs, chew: teeth, walk: feet"
    ),
}

MEDIUM: dict[str, str] = {
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
    "The capital of the US state of {} is": (
        "California: Sacramento, Texas: Austin, Florida: Tallahassee, New York: Albany, "
        "Illinois: Springfield, Ohio: Columbus, Georgia: Atlanta, Massachusetts: Boston, "
        "Colorado: Denver, Arizona: Phoenix, Washington: Olympia, Oregon: Salem, "
        "Nevada: Carson City, Utah: Salt Lake City, Hawaii: Honolulu, Alaska: Juneau"
    ),
}

HARD: dict[str, str] = {
    "The capital of {} is": (
        "Mali: Bamako, Niger: Niamey, Chad: N'Djamena, Togo: Lomé, Benin: Porto-Novo, "
        "Senegal: Dakar, the Gambia: Banjul, Guinea: Conakry, Sierra Leone: Freetown, "
        "Liberia: Monrovia, Angola: Luanda, Namibia: Windhoek, Botswana: Gaborone, "
        "Zambia: Lusaka, Zimbabwe: Harare, Malawi: Lilongwe, Mozambique: Maputo, "
        "Madagascar: Antananarivo, Rwanda: Kigali, Uganda: Kampala, Somalia: Mogadishu, "
        "Eritrea: Asmara, Oman: Muscat, Jordan: Amman, Lebanon: Beirut, Armenia: Yerevan, "
        "Azerbaijan: Baku, Turkmenistan: Ashgabat, Uzbekistan: Tashkent, Tajikistan: Dushanbe, "
        "Bhutan: Thimphu, Laos: Vientiane, Cambodia: Phnom Penh, Vanuatu: Port Vila, Fiji: Suva, "
        "Tonga: Nuku'alofa, Samoa: Apia, Ecuador: Quito, Paraguay: Asunción, "
        "Uruguay: Montevideo, Venezuela: Caracas, Guyana: Georgetown, Suriname: Paramaribo, "
        "Barbados: Bridgetown, Jamaica: Kingston, the Bahamas: Nassau, Haiti: Port-au-Prince, "
        "the Dominican Republic: Santo Domingo, Belize: Belmopan, Honduras: Tegucigalpa, "
        "Nicaragua: Managua, Costa Rica: San José, Estonia: Tallinn, Latvia: Riga, "
        "Lithuania: Vilnius, Belarus: Minsk, Moldova: Chișinău, Slovakia: Bratislava, "
        "Slovenia: Ljubljana, Croatia: Zagreb, Montenegro: Podgorica, Albania: Tirana, "
        "North Macedonia: Skopje"
    ),
    "The atomic number of {} is": (
        "carbon: 6, nitrogen: 7, oxygen: 8, neon: 10, sodium: 11, aluminium: 13, silicon: 14, "
        "phosphorus: 15, sulfur: 16, chlorine: 17, argon: 18, calcium: 20, chromium: 24, iron: 26, "
        "nickel: 28, copper: 29, zinc: 30, krypton: 36, silver: 47, tin: 50, iodine: 53, "
        "xenon: 54, platinum: 78, gold: 79, mercury: 80, lead: 82, uranium: 92, plutonium: 94"
    ),
    "The novel {} was written by": (
        "Vanity Fair: William Makepeace Thackeray, Middlemarch: George Eliot, "
        "Wuthering Heights: Emily Brontë, The Red and the Black: Stendhal, Germinal: Émile Zola, "
        "Nausea: Jean-Paul Sartre, The Stranger: Albert Camus, Dead Souls: Nikolai Gogol, "
        "Fathers and Sons: Ivan Turgenev, Oblomov: Ivan Goncharov, "
        "Quo Vadis: Henryk Sienkiewicz, The Good Soldier Švejk: Jaroslav Hašek, "
        "Effi Briest: Theodor Fontane, The Magic Mountain: Thomas Mann, "
        "The Tin Drum: Günter Grass, The Glass Bead Game: Hermann Hesse, "
        "The Man Without Qualities: Robert Musil, The Name of the Rose: Umberto Eco, "
        "Zeno's Conscience: Italo Svevo, The Leopard: Giuseppe Tomasi di Lampedusa, "
        "Blindness: José Saramago, Ulysses: James Joyce, To the Lighthouse: Virginia Woolf, "
        "Beloved: Toni Morrison, Lolita: Vladimir Nabokov, Midnight's Children: Salman Rushdie, "
        "Snow Country: Yasunari Kawabata, My Name Is Red: Orhan Pamuk"
    ),
    "The river that flows through the city of {} is the": (
        "London: Thames, Paris: Seine, Lyon: Rhône, Bordeaux: Garonne, Zaragoza: Ebro, "
        "Toledo: Tagus, Seville: Guadalquivir, Rome: Tiber, Florence: Arno, Turin: Po, "
        "Cologne: Rhine, Heidelberg: Neckar, Dresden: Elbe, Prague: Vltava, Vienna: Danube, "
        "Kraków: Vistula, Kyiv: Dnieper, Baghdad: Tigris, Cairo: Nile, Varanasi: Ganges"
    ),
}

EVENTS = """
Charlemagne was crowned emperor: 800
The last emperor of the West was deposed by Odoacer: 476
The Magna Carta was sealed: 1215
The Battle of Bannockburn was fought: 1314
The Battle of Agincourt was fought: 1415
The Treaty of Tordesillas was signed: 1494
Luther published his 95 theses: 1517
The Peace of Augsburg was made: 1555
The Battle of Lepanto was fought: 1571
The Spanish Armada sailed against England: 1588
The Edict of Nantes was signed: 1598
The Gunpowder Plot was discovered: 1605
The Great Fire of London broke out: 1666
Newton's Principia was first published: 1687
The Battle of Blenheim was fought: 1704
The Battle of Poltava was fought: 1709
The great earthquake of Lisbon happened: 1755
The American Declaration of Independence was adopted: 1776
The planet Uranus was discovered: 1781
The Battle of Trafalgar was fought: 1805
Napoleon lost the Battle of Leipzig: 1813
The Battle of Waterloo was fought: 1815
The planet Neptune was discovered: 1846
Darwin's On the Origin of Species was published: 1859
The Suez Canal was opened: 1869
The volcano Krakatoa blew itself apart: 1883
The Eiffel Tower was completed: 1889
X-rays were discovered: 1895
The first Olympic Games of modern times were held: 1896
Einstein published the special theory of relativity: 1905
The Panama Canal was opened: 1914
The Treaty of Versailles was signed: 1919
Penicillin was discovered: 1928
The dwarf planet Pluto was discovered: 1930
The Spanish Civil War began: 1936
The United Nations were founded: 1945
The double helix of DNA was first described: 1953
The first artificial satellite was launched: 1957
The Berlin Wall was built: 1961
The first human heart was transplanted: 1967
The reactor at Chernobyl exploded: 1986
The Soviet Union was dissolved: 1991
""".strip()

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

MEDIUM_FACTS = 46
"""The first rows of the single statements are of medium difficulty, the others hard."""
