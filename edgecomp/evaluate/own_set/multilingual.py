"""Multilingual: pick the translation among words or sentences, and stay in a language.

The texts come in twelve languages. Each sentence has a near twin, so that knowing the topic is not
enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from edgecomp.evaluate.items import (
    Difficulty,
    GenerationItem,
    Instruction,
    InstructionCheck,
    Item,
    ask,
)
from edgecomp.evaluate.own_set.choice import Label, choice_item

ENGLISH = (
    "The cat is under the table.",
    "The cat is on the table.",
    "Yesterday I bought bread.",
    "Tomorrow I will buy bread.",
    "My brother lives in a small house.",
    "My sister lives in a big house.",
    "It is raining and I have no umbrella.",
    "The water is too cold to swim.",
    "The train leaves at seven in the morning.",
    "The train leaves at eight in the evening.",
)

TRANSLATIONS = {
    "Spanish": (
        "El gato está debajo de la mesa.",
        "El gato está sobre la mesa.",
        "Ayer compré pan.",
        "Mañana compraré pan.",
        "Mi hermano vive en una casa pequeña.",
        "Mi hermana vive en una casa grande.",
        "Está lloviendo y no tengo paraguas.",
        "El agua está demasiado fría para nadar.",
        "El tren sale a las siete de la mañana.",
        "El tren sale a las ocho de la noche.",
    ),
    "French": (
        "Le chat est sous la table.",
        "Le chat est sur la table.",
        "Hier, j'ai acheté du pain.",
        "Demain, j'achèterai du pain.",
        "Mon frère habite dans une petite maison.",
        "Ma sœur habite dans une grande maison.",
        "Il pleut et je n'ai pas de parapluie.",
        "L'eau est trop froide pour nager.",
        "Le train part à sept heures du matin.",
        "Le train part à huit heures du soir.",
    ),
    "German": (
        "Die Katze ist unter dem Tisch.",
        "Die Katze ist auf dem Tisch.",
        "Gestern habe ich Brot gekauft.",
        "Morgen werde ich Brot kaufen.",
        "Mein Bruder wohnt in einem kleinen Haus.",
        "Meine Schwester wohnt in einem großen Haus.",
        "Es regnet und ich habe keinen Regenschirm.",
        "Das Wasser ist zu kalt zum Schwimmen.",
        "Der Zug fährt um sieben Uhr morgens ab.",
        "Der Zug fährt um acht Uhr abends ab.",
    ),
    "Italian": (
        "Il gatto è sotto il tavolo.",
        "Il gatto è sul tavolo.",
        "Ieri ho comprato il pane.",
        "Domani comprerò il pane.",
        "Mio fratello vive in una casa piccola.",
        "Mia sorella vive in una casa grande.",
        "Piove e non ho l'ombrello.",
        "L'acqua è troppo fredda per nuotare.",
        "Il treno parte alle sette del mattino.",
        "Il treno parte alle otto di sera.",
    ),
    "Portuguese": (
        "O gato está debaixo da mesa.",
        "O gato está em cima da mesa.",
        "Ontem comprei pão.",
        "Amanhã vou comprar pão.",
        "Meu irmão mora em uma casa pequena.",
        "Minha irmã mora em uma casa grande.",
        "Está chovendo e não tenho guarda-chuva.",
        "A água está fria demais para nadar.",
        "O trem sai às sete da manhã.",
        "O trem sai às oito da noite.",
    ),
    "Dutch": (
        "De kat zit onder de tafel.",
        "De kat zit op de tafel.",
        "Gisteren heb ik brood gekocht.",
        "Morgen koop ik brood.",
        "Mijn broer woont in een klein huis.",
        "Mijn zus woont in een groot huis.",
        "Het regent en ik heb geen paraplu.",
        "Het water is te koud om te zwemmen.",
        "De trein vertrekt om zeven uur 's ochtends.",
        "De trein vertrekt om acht uur 's avonds.",
    ),
    "Polish": (
        "Kot jest pod stołem.",
        "Kot jest na stole.",
        "Wczoraj kupiłem chleb.",
        "Jutro kupię chleb.",
        "Mój brat mieszka w małym domu.",
        "Moja siostra mieszka w dużym domu.",
        "Pada deszcz, a ja nie mam parasola.",
        "Woda jest za zimna, żeby pływać.",
        "Pociąg odjeżdża o siódmej rano.",
        "Pociąg odjeżdża o ósmej wieczorem.",
    ),
    "Russian": (
        "Кошка под столом.",
        "Кошка на столе.",
        "Вчера я купил хлеб.",
        "Завтра я куплю хлеб.",
        "Мой брат живёт в маленьком доме.",
        "Моя сестра живёт в большом доме.",
        "Идёт дождь, а у меня нет зонта.",
        "Вода слишком холодная, чтобы плавать.",
        "Поезд отправляется в семь утра.",
        "Поезд отправляется в восемь вечера.",
    ),
    "Turkish": (
        "Kedi masanın altında.",
        "Kedi masanın üstünde.",
        "Dün ekmek aldım.",
        "Yarın ekmek alacağım.",
        "Erkek kardeşim küçük bir evde yaşıyor.",
        "Kız kardeşim büyük bir evde yaşıyor.",
        "Yağmur yağıyor ve şemsiyem yok.",
        "Su yüzmek için çok soğuk.",
        "Tren sabah yedide kalkıyor.",
        "Tren akşam sekizde kalkıyor.",
    ),
    "Indonesian": (
        "Kucing itu ada di bawah meja.",
        "Kucing itu ada di atas meja.",
        "Kemarin saya membeli roti.",
        "Besok saya akan membeli roti.",
        "Saudara laki-laki saya tinggal di rumah kecil.",
        "Saudara perempuan saya tinggal di rumah besar.",
        "Hujan turun dan saya tidak punya payung.",
        "Airnya terlalu dingin untuk berenang.",
        "Kereta berangkat pukul tujuh pagi.",
        "Kereta berangkat pukul delapan malam.",
    ),
    "Chinese": (
        "猫在桌子下面。",
        "猫在桌子上面。",
        "我昨天买了面包。",
        "我明天要买面包。",
        "我哥哥住在一座小房子里。",
        "我姐姐住在一座大房子里。",
        "下雨了，我没有伞。",
        "水太冷了，不能游泳。",
        "火车早上七点出发。",
        "火车晚上八点出发。",
    ),
    "Japanese": (
        "猫はテーブルの下にいます。",
        "猫はテーブルの上にいます。",
        "昨日、パンを買いました。",
        "明日、パンを買います。",
        "私の兄は小さな家に住んでいます。",
        "私の姉は大きな家に住んでいます。",
        "雨が降っていて、傘がありません。",
        "水は泳ぐには冷たすぎます。",
        "電車は朝七時に出発します。",
        "電車は夜八時に出発します。",
    ),
}

# English, then the languages of TRANSLATIONS in their order.
WORDS = """
dog | perro | chien | Hund | cane | cachorro | hond | pies | собака | köpek | anjing | 狗 | 犬
house | casa | maison | Haus | casa | casa | huis | dom | дом | ev | rumah | 房子 | 家
water | agua | eau | Wasser | acqua | água | water | woda | вода | su | air | 水 | 水
bread | pan | pain | Brot | pane | pão | brood | chleb | хлеб | ekmek | roti | 面包 | パン
milk | leche | lait | Milch | latte | leite | melk | mleko | молоко | süt | susu | 牛奶 | 牛乳
book | libro | livre | Buch | libro | livro | boek | książka | книга | kitap | buku | 书 | 本
tree | árbol | arbre | Baum | albero | árvore | boom | drzewo | дерево | ağaç | pohon | 树 | 木
sun | sol | soleil | Sonne | sole | sol | zon | słońce | солнце | güneş | matahari | 太阳 | 太陽
moon | luna | lune | Mond | luna | lua | maan | księżyc | луна | ay | bulan | 月亮 | 月
hand | mano | main | Hand | mano | mão | hand | ręka | рука | el | tangan | 手 | 手
eye | ojo | œil | Auge | occhio | olho | oog | oko | глаз | göz | mata | 眼睛 | 目
red | rojo | rouge | rot | rosso | vermelho | rood | czerwony | красный | kırmızı | merah | 红色 | 赤
white | blanco | blanc | weiß | bianco | branco | wit | biały | белый | beyaz | putih | 白色 | 白
black | negro | noir | schwarz | nero | preto | zwart | czarny | чёрный | siyah | hitam | 黑色 | 黒
green | verde | vert | grün | verde | verde | groen | zielony | зелёный | yeşil | hijau | 绿色 | 緑
three | tres | trois | drei | tre | três | drie | trzy | три | üç | tiga | 三 | 三
ten | diez | dix | zehn | dieci | dez | tien | dziesięć | десять | on | sepuluh | 十 | 十
mother | madre | mère | Mutter | madre | mãe | moeder | matka | мать | anne | ibu | 妈妈 | 母
father | padre | père | Vater | padre | pai | vader | ojciec | отец | baba | ayah | 爸爸 | 父
friend | amigo | ami | Freund | amico | amigo | vriend | przyjaciel | друг | arkadaş | teman | 朋友 | 友達
night | noche | nuit | Nacht | notte | noite | nacht | noc | ночь | gece | malam | 夜晚 | 夜
Monday | lunes | lundi | Montag | lunedì | segunda-feira | maandag | poniedziałek | понедельник | pazartesi | Senin | 星期一 | 月曜日
winter | invierno | hiver | Winter | inverno | inverno | winter | zima | зима | kış | musim dingin | 冬天 | 冬
bird | pájaro | oiseau | Vogel | uccello | pássaro | vogel | ptak | птица | kuş | burung | 鸟 | 鳥
fish | pez | poisson | Fisch | pesce | peixe | vis | ryba | рыба | balık | ikan | 鱼 | 魚
school | escuela | école | Schule | scuola | escola | school | szkoła | школа | okul | sekolah | 学校 | 学校
street | calle | rue | Straße | strada | rua | straat | ulica | улица | sokak | jalan | 街道 | 通り
door | puerta | porte | Tür | porta | porta | deur | drzwi | дверь | kapı | pintu | 门 | ドア
apple | manzana | pomme | Apfel | mela | maçã | appel | jabłko | яблоко | elma | apel | 苹果 | りんご
snow | nieve | neige | Schnee | neve | neve | sneeuw | śnieg | снег | kar | salju | 雪 | 雪
""".strip()  # noqa: E501
# English, then the languages of NEAR_ENGLISH; each pair of rows are twins.
NEAR_SENTENCES = """
The door is open. | La puerta está abierta. | La porte est ouverte. | Die Tür ist offen. | La porta è aperta. | A porta está aberta. | De deur is open.
The door is closed. | La puerta está cerrada. | La porte est fermée. | Die Tür ist geschlossen. | La porta è chiusa. | A porta está fechada. | De deur is dicht.
I drink coffee in the morning. | Bebo café por la mañana. | Je bois du café le matin. | Morgens trinke ich Kaffee. | Bevo il caffè la mattina. | Bebo café de manhã. | Ik drink 's ochtends koffie.
I drink tea in the evening. | Bebo té por la noche. | Je bois du thé le soir. | Abends trinke ich Tee. | Bevo il tè la sera. | Bebo chá à noite. | Ik drink 's avonds thee.
The old man reads a newspaper. | El anciano lee un periódico. | Le vieil homme lit un journal. | Der alte Mann liest eine Zeitung. | Il vecchio legge un giornale. | O velho lê um jornal. | De oude man leest een krant.
The young woman writes a letter. | La joven escribe una carta. | La jeune femme écrit une lettre. | Die junge Frau schreibt einen Brief. | La giovane scrive una lettera. | A jovem escreve uma carta. | De jonge vrouw schrijft een brief.
My father works in a hospital. | Mi padre trabaja en un hospital. | Mon père travaille dans un hôpital. | Mein Vater arbeitet in einem Krankenhaus. | Mio padre lavora in un ospedale. | Meu pai trabalha em um hospital. | Mijn vader werkt in een ziekenhuis.
My mother works in a school. | Mi madre trabaja en una escuela. | Ma mère travaille dans une école. | Meine Mutter arbeitet in einer Schule. | Mia madre lavora in una scuola. | Minha mãe trabalha em uma escola. | Mijn moeder werkt in een school.
The dog sleeps in the garden. | El perro duerme en el jardín. | Le chien dort dans le jardin. | Der Hund schläft im Garten. | Il cane dorme nel giardino. | O cachorro dorme no jardim. | De hond slaapt in de tuin.
The dog eats in the kitchen. | El perro come en la cocina. | Le chien mange dans la cuisine. | Der Hund frisst in der Küche. | Il cane mangia in cucina. | O cachorro come na cozinha. | De hond eet in de keuken.
We travel to Paris by train. | Viajamos a París en tren. | Nous allons à Paris en train. | Wir fahren mit dem Zug nach Paris. | Andiamo a Parigi in treno. | Viajamos para Paris de trem. | We reizen met de trein naar Parijs.
We travel to London by plane. | Viajamos a Londres en avión. | Nous allons à Londres en avion. | Wir fliegen nach London. | Andiamo a Londra in aereo. | Viajamos para Londres de avião. | We reizen met het vliegtuig naar Londen.
The winter is long and cold. | El invierno es largo y frío. | L'hiver est long et froid. | Der Winter ist lang und kalt. | L'inverno è lungo e freddo. | O inverno é longo e frio. | De winter is lang en koud.
The summer is short and warm. | El verano es corto y cálido. | L'été est court et chaud. | Der Sommer ist kurz und warm. | L'estate è breve e calda. | O verão é curto e quente. | De zomer is kort en warm.
""".strip()  # noqa: E501
NEAR_ENGLISH = ("Spanish", "French", "German", "Italian", "Portuguese", "Dutch")
"""Languages whose script and many of whose words an English reader knows."""

QUESTIONS = {
    "es": "¿Por qué es importante dormir bien? Responde en español con dos frases.",
    "fr": "Pourquoi est-il important de bien dormir ? Réponds en français en deux phrases.",
    "de": "Warum ist guter Schlaf wichtig? Antworte auf Deutsch in zwei Sätzen.",
    "it": "Perché è importante dormire bene? Rispondi in italiano con due frasi.",
    "pt": "Por que é importante dormir bem? Responda em português com duas frases.",
    "nl": "Waarom is goed slapen belangrijk? Antwoord in het Nederlands in twee zinnen.",
    "pl": "Dlaczego dobry sen jest ważny? Odpowiedz po polsku w dwóch zdaniach.",
    "ru": "Почему важно хорошо спать? Ответь по-русски двумя предложениями.",
    "tr": "İyi uyumak neden önemlidir? Türkçe olarak iki cümleyle cevap ver.",
    "id": "Mengapa tidur yang cukup itu penting? Jawab dalam bahasa Indonesia dengan dua kalimat.",
    "zh-cn": "为什么睡眠很重要？请用中文写两句话回答。",
    "ja": "なぜよく眠ることが大切ですか。日本語で二文で答えてください。",
}
WRITTEN_ANSWER_TOKENS = 64
SEA_QUESTIONS = {
    "es": "Escribe dos frases en español sobre el mar.",
    "fr": "Écris deux phrases en français sur la mer.",
    "de": "Schreibe zwei Sätze auf Deutsch über das Meer.",
    "it": "Scrivi due frasi in italiano sul mare.",
    "pt": "Escreva duas frases em português sobre o mar.",
    "nl": "Schrijf twee zinnen in het Nederlands over de zee.",
    "pl": "Napisz po polsku dwa zdania o morzu.",
    "ru": "Напиши по-русски два предложения о море.",
    "tr": "Deniz hakkında Türkçe iki cümle yaz.",
    "id": "Tulislah dua kalimat dalam bahasa Indonesia tentang laut.",
    "zh-cn": "请用中文写两句关于大海的话。",
    "ja": "海について日本語で二文書いてください。",
}
WRITTEN_LEVELS: dict[Difficulty, str] = {
    "easy": "es fr de", "medium": "it pt nl pl ru", "hard": "tr id zh-cn ja",
}  # fmt: skip


def items(random: Random) -> list[Item]:
    """Words and sentences from and into every language, and two requests to answer in each.

    Into English from a near language is easy; into a far language, or between two foreign ones,
    hard.
    """
    made = _words(random) + _foreign_words(random)
    texts = {"English": ENGLISH, **TRANSLATIONS}
    for language in TRANSLATIONS:
        near = language in NEAR_ENGLISH
        for index in range(len(ENGLISH)):
            into, out = (language, "English"), ("English", language)
            made.append(_sentence(random, "easy" if near else "medium", index, into, texts))
            made.append(_sentence(random, "medium" if near else "hard", index, out, texts))
    languages = list(TRANSLATIONS)
    for number, language in enumerate(languages):
        for step, index in enumerate(range(number % 2, len(ENGLISH), 2), start=1):
            pair = (language, languages[(number + 2 * step) % len(languages)])
            made.append(_sentence(random, "hard", index, pair, texts))
    return made + _near_sentences(random) + _written()


def _near_sentences(random: Random) -> list[Item]:
    columns = zip(*(line.split(" | ") for line in NEAR_SENTENCES.splitlines()), strict=True)
    texts = dict(zip(("English", *NEAR_ENGLISH), columns, strict=True))
    return [
        _sentence(random, "easy", index, (language, "English"), texts)
        for language in NEAR_ENGLISH
        for index in range(len(texts["English"]))
    ]


def _words(random: Random) -> list[Item]:
    """Every third word of the near languages into English, and of the rest from English."""
    rows = [line.split(" | ") for line in WORDS.splitlines()]
    return [
        _word(random, rows, row, (language, column), into_english=language in NEAR_ENGLISH)
        for column, language in enumerate(TRANSLATIONS, start=1)
        for row in range(column % 3, len(rows), 3)
    ]


def _foreign_words(random: Random) -> list[Item]:
    """Words between two foreign languages, among others of their kind."""
    rows = [line.split(" | ") for line in WORDS.splitlines()]
    languages = list(TRANSLATIONS)
    made: list[Item] = []
    for number, source in enumerate(languages):
        for step, row in enumerate(range(number % 4, len(rows), 4)):
            target = (number + 3 + step) % len(languages)
            names = (source, languages[target])
            if target == number:
                continue
            right = rows[row][target + 1]
            near = sorted(range(len(rows)), key=lambda other: abs(other - row))
            others = [rows[other][target + 1] for other in near]
            wrong = [word for word in others if word != right][:3]
            made.append(
                choice_item(
                    random,
                    Label("multilingual", f"{names[0]}-{names[1]}-{rows[row][0]}", "hard"),
                    f"{names[0]}: {rows[row][number + 1]}\n{names[1]}:",
                    [f" {word}" for word in (right, *wrong)],
                    "per-byte",
                )
            )
    return made


def _word(
    random: Random,
    rows: list[list[str]],
    row: int,
    language: tuple[str, int],
    *,
    into_english: bool,
) -> Item:
    """One word, after two others as examples."""
    name, column = language
    source, target = (column, 0) if into_english else (0, column)
    names = (name, "English") if into_english else ("English", name)
    others = [other for other in rows if other[target] != rows[row][target]]
    first, second, *wrong = random.sample(others, 5)
    shown = "".join(
        f"{names[0]}: {example[source]}\n{names[1]}: {example[target]}\n"
        for example in (first, second)
    )
    return choice_item(
        random,
        Label("multilingual", f"{names[0]}-{names[1]}-{rows[row][source]}", "medium"),
        f"{shown}{names[0]}: {rows[row][source]}\n{names[1]}:",
        [f" {each[target]}" for each in (rows[row], *wrong)],
        "per-byte",
    )


def _sentence(
    random: Random,
    level: Difficulty,
    index: int,
    pair: tuple[str, str],
    texts: Mapping[str, Sequence[str]],
) -> Item:
    source, target = pair
    wanted, twin = texts[target], index ^ 1
    others = random.sample([i for i in range(len(wanted)) if i not in (index, twin)], 2)
    return choice_item(
        random,
        Label("multilingual", f"{source}-{target}-{texts[source][index]}", level),
        f"{source}: {texts[source][index]}\n{target}:",
        [f" {wanted[i]}" for i in (index, twin, *others)],
        "per-byte",
    )


def _written() -> list[Item]:
    return [
        _stay_in_language(level, language, table[language])
        for level, languages in WRITTEN_LEVELS.items()
        for language in languages.split()
        for table in (QUESTIONS, SEA_QUESTIONS)
    ]


def _stay_in_language(level: Difficulty, language: str, text: str) -> Item:
    constraint = Instruction(name="language:response_language", arguments={"language": language})
    return GenerationItem(
        benchmark="own-multilingual-written",
        id=text,
        category="multilingual",
        difficulty=level,
        prompt=ask(text),
        limit=WRITTEN_ANSWER_TOKENS,
        check=InstructionCheck(instructions=(constraint,)),
    )
