"""Knowledge: questions about how things are and why, answered in a sentence or two."""

from __future__ import annotations

FACTS = """
Why is the sky blue? | Air scatters short waves of light more than long ones. Blue light from the Sun is therefore spread over the whole sky, while red light passes nearly straight through.
Why does the Moon show phases? | The Sun always lights one half of the Moon. As the Moon goes around the Earth in about a month, we see more or less of that lit half.
What causes the tides? | The Moon's pull, and to a lesser degree the Sun's, is stronger on the near side of the Earth than on the far side. This difference stretches the oceans into two bulges, under which the Earth turns.
Why does ice float on water? | In ice the molecules form an open lattice that takes more room than the liquid. Ice is thus about nine percent less dense than water.
How does a vaccine protect? | It shows the immune system a harmless part or form of a germ. The memory cells that remain react quickly when the real germ arrives.
What does the ozone layer do? | This layer of the stratosphere absorbs most of the Sun's ultraviolet light, which would otherwise damage living cells.
Why do leaves change colour in autumn? | Trees take back the green chlorophyll before they shed their leaves. Yellow pigments that were there all along become visible, and some species make red ones.
What is a supernova? | It is the explosion of a star, either of a heavy one whose core collapses or of a white dwarf that gathers too much mass. It can outshine its galaxy for weeks.
How do bees tell each other where flowers are? | A returning forager dances on the comb. The angle of its waggle run gives the direction relative to the Sun, and the length of the run gives the distance.
What is inflation? | It is a lasting rise of the general level of prices. The same sum of money then buys less than before.
What is the difference between weather and climate? | Weather is the state of the air at one place and time. Climate is its statistics over decades.
How does a compass work? | Its needle is a small magnet that turns freely. It lines up with the magnetic field of the Earth, whose poles lie near the geographic ones.
What did the printing press of the fifteenth century change? | Movable type made books cheap and alike. Ideas spread faster than copyists could write, and reading became common outside monasteries and courts.
What was the Silk Road? | It was a web of trade routes between China, Central Asia, Persia and the Mediterranean. Silk, paper, spices, religions and diseases travelled along it.
What was the Rosetta Stone good for? | It carries the same decree in Greek and in two Egyptian scripts. Scholars who knew Greek could use it to decipher the hieroglyphs.
Why did Roman roads last so long? | They were built in layers of stone and gravel on a firm bed, cambered and drained at the sides, so that water did not soften them.
What does a parliament do? | It makes laws, decides on the budget and controls the government. In most democracies its members are elected.
What is the separation of powers? | Making laws, carrying them out and judging by them are given to different bodies. Each limits the others, so that none can rule alone.
What is photosynthesis good for? | With the energy of light, plants build sugar from water and a gas of the air. Nearly all food on Earth begins with it, and the oxygen we breathe is its by-product.
How do whales breathe? | They are mammals with lungs. They come to the surface and breathe through a blowhole on top of the head.
Why do cats' eyes shine in the dark? | A mirror-like layer behind the retina throws light back through it. The eye gets a second chance to catch that light, and part of it leaves the eye again.
What are tectonic plates? | They are the large pieces into which the rigid outer shell of the Earth is broken. They move a few centimetres a year, and most quakes and volcanoes lie along their edges.
How does a volcano form an island? | Lava piles up on the sea floor, eruption after eruption, until it rises above the water. Iceland and Hawaii were made in this way.
What is a glacier? | It is a mass of ice, made of snow that was pressed together over years, which flows slowly downhill under its own weight.
What is a delta? | Where a river meets still water it slows down and drops its sand and mud. The deposits split the river into branches, which together form a delta.
Why is the Dead Sea so salty? | Rivers bring dissolved salts into it, but none flows out. The water leaves only by evaporation, and the salt stays.
What is an isotope? | Atoms of one element have the same number of protons. Where their numbers of neutrons differ, they are isotopes of that element.
How does soap clean? | One end of its molecules clings to water, the other to fat. Together they wrap grease into droplets that water can carry away.
What is a catalyst? | It is a substance that speeds up a chemical reaction by offering an easier path, and that is not used up by it.
Why does iron rust? | In the presence of water, iron reacts with oxygen to form hydrated oxides. These flake off, so that the metal below is attacked as well.
What does pH measure? | It tells how acidic a solution is, on a logarithmic scale of the hydrogen ions in it. Pure water has about 7, acids have less and bases more.
What is a semiconductor? | Its conductivity lies between that of a metal and that of an insulator and can be steered by impurities and voltages. Silicon is the best known.
How does a refrigerator cool? | A liquid evaporates in its pipes inside and takes up heat. A compressor and the grid at the back make it liquid again and give the heat to the room.
Why do aircraft fly? | A wing deflects air downwards, and the pressure below it is higher than above it. The upward force that results carries the weight.
What is an echo? | It is sound that a distant surface has thrown back, heard apart from the original because it travelled a longer way.
What is a light-year? | It is a distance, not a time: how far light travels in vacuum in one year, about 9.5 million million kilometres.
Why does a prism split white light? | White light is a mixture of wavelengths. Glass bends short ones more than long ones, so that they leave in different directions.
What is entropy? | It measures in how many microscopic ways a state can be realised. Left alone, systems drift to states with more of them, so entropy does not fall.
What is an algorithm? | It is a finite list of unambiguous steps that turns every allowed input into the wanted result.
What does an operating system do? | It shares processor, memory and devices among programs and gives them a common way to use files, networks and screens.
What is public-key encryption? | Each person has two keys. What is locked with the public one can be opened only with the private one, so no secret must be exchanged beforehand.
How does a search engine find pages so fast? | It does not search the web when asked. It looks the words up in an index that was built beforehand and ranks the pages listed there.
Who were the Phoenicians? | They were seafaring traders from the coast of today's Lebanon. Their alphabet became the ancestor of the Greek, Latin, Hebrew and Arabic ones.
What was the Magna Carta? | English barons forced King John to accept it in 1215. It stated that the king, too, is bound by law.
What was the Renaissance? | From the fourteenth century on, scholars and artists, first in Italy, took up ancient models and studied man and nature anew.
What ended the reign of the Aztecs? | Spanish troops under Cortés, with many native allies and helped by smallpox, took Tenochtitlan in 1521.
What was the Meiji Restoration? | In 1868 power in Japan passed from the shogun back to the emperor. The country then reformed its state, army, schools and industry within a generation.
What was apartheid? | It was the system of laws by which South Africa separated people by race and denied the majority its rights, from 1948 to the early 1990s.
What is the function of red blood cells? | They carry oxygen from the lungs to the tissues, bound to the iron in their haemoglobin, and help to bring carbon dioxide back.
What do the kidneys do? | They filter the blood, remove waste and surplus salts with the urine, and keep the amount of water in the body in balance.
Why do we get goose bumps? | Tiny muscles raise the hairs when we are cold or startled. In furry ancestors this trapped warm air or made them look larger.
What is an antibiotic, and why is it no help against a cold? | It kills bacteria or stops their growth by attacking parts that our cells lack. Colds come from viruses, which do not have these parts.
What are genes? | They are stretches of the hereditary molecule in our cells that hold the building plans of proteins or regulate when these are made.
What is natural selection? | Individuals differ, and some differences help to survive and to have offspring. Where they are inherited, they become more frequent in later generations.
Why do birds migrate? | They follow food and daylight. Northern summers offer much of both for raising young, but northern winters do not.
What is a coral reef made of? | Colonies of small animals deposit skeletons of lime on those of their predecessors. Over thousands of years they grow into a reef.
What is a sonnet? | It is a poem of fourteen lines with a fixed order of rhymes, usually with a turn of thought near the end.
What is perspective in painting? | Lines that run away from the viewer meet in a vanishing point, and distant things are drawn smaller. A flat picture then seems to have depth.
What is the difference between a symphony and a concerto? | A symphony is written for the orchestra as a whole. A concerto sets one or a few soloists against it.
What is supply and demand? | Buyers want more when a price falls, sellers offer more when it rises. The price tends to settle where both amounts are equal.
What does a central bank do? | It issues the currency, steers interest rates and the amount of money, and lends to banks in a crisis in order to keep prices and the financial system stable.
What is the greenhouse effect? | Sunlight warms the ground, which radiates heat. Gases such as water vapour and carbon dioxide absorb part of this heat and send some of it back.
Why are there time zones? | The Earth turns once in about 24 hours, so noon comes later the further west one goes. Zones let each region keep its clocks near its own noon.
What is a leap year for? | The Earth takes nearly six hours more than 365 days for one orbit. An extra day, nearly every fourth year, keeps the calendar in step with the seasons.
How do seeds know when to sprout? | They wait for water, warmth and air, and some for light or a past winter. These signals start the enzymes that open the food stored in the seed.
What is the placebo effect? | Patients who expect help may feel better after a treatment without any active substance. Trials therefore compare a drug with a dummy.
""".strip()  # noqa: E501


def pairs() -> list[tuple[str, str]]:
    """66 questions about nature, technology, history, society and the arts."""
    rows = (line.split(" | ") for line in FACTS.splitlines())
    return [(question, answer) for question, answer in rows]
