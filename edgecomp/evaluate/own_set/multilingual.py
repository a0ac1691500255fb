"""Multilingual: pick the translation among sentences that differ in a word, and stay in a language.

The sentences come in twelve languages; each has a near twin, so that knowing the topic is not
enough.
"""

from __future__ import annotations

from random import Random

from edgecomp.evaluate.items import GenerationItem, Instruction, InstructionCheck, Item, ask
from edgecomp.evaluate.own_set.choice import choice_item

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


def items(random: Random) -> list[Item]:
    """Every sentence from and into every language, and one question to answer in each."""
    made: list[Item] = []
    for language, sentences in TRANSLATIONS.items():
        for index in range(len(ENGLISH)):
            into = ("English", ENGLISH, language, sentences)
            out = (language, sentences, "English", ENGLISH)
            made += [_translation(random, index, *direction) for direction in (into, out)]
    return made + [_stay_in_language(language, text) for language, text in QUESTIONS.items()]


def _translation(
    random: Random,
    index: int,
    source: str,
    given: tuple[str, ...],
    target: str,
    wanted: tuple[str, ...],
) -> Item:
    twin = index ^ 1
    others = random.sample([i for i in range(len(wanted)) if i not in (index, twin)], 2)
    return choice_item(
        random,
        "multilingual",
        f"{source}-{target}-{index}",
        f"{source}: {given[index]}\n{target}:",
        (f" {wanted[index]}", *([f" {wanted[i]}" for i in (twin, *others)])),
        "per-byte",
    )


def _stay_in_language(language: str, text: str) -> Item:
    constraint = Instruction(name="language:response_language", arguments={"language": language})
    return GenerationItem(
        benchmark="own-multilingual-written",
        id=language,
        category="multilingual",
        prompt=ask(text),
        limit=WRITTEN_ANSWER_TOKENS,
        check=InstructionCheck(instructions=(constraint,)),
    )
