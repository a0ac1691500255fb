"""Texts on which two tokenizers are compared: what breaks tokenizers, in some two hundred pieces.

A tokenizer that was rebuilt wrongly mostly agrees on plain English. It differs on scripts without
spaces, on marks that combine, on runs of whitespace, on digits, on emoji made of several code
points, on special tokens written as text. All texts were written for this file.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

SENTENCES = (
    "The quick brown fox doesn't jump; it's asleep, and they'll wake it at 6 o'clock.",
    "I'VE SAID SO: WE'RE LATE, YOU'D BETTER RUN, HE'LL WAIT, SHE'S GONE, I'M OFF, DON'T!",
    "Un été à l’île : Noël, façade, œuvre, où ça ? Très bien !",
    "Größere Bären äßen süße Äpfel, ÜBERALL: Straße, Maß, Fußgängerübergänge.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ¿Añoraba qué? ¡Olé!",
    "A ação do coração não é só emoção; avô, avó, pôr-do-sol.",
    "Perché l'estate è così breve? È già città, più virtù.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy, řekl Jiří.",
    "Zażółć gęślą jaźń, Łódź, źdźbło, świerszcz.",
    "Árvíztűrő tükörfúrógép, őszinte hűvös űr.",
    "Şişli'de ığdır İstanbul'a çok güzel ağaçlar dikildi.",
    "Người Việt Nam rất thích phở và cà phê sữa đá ở Đà Nẵng.",
    "Þórður ætlaði að sækja ölið, en kýrnar átu það.",
    "Smørrebrød på øen, blåbærgrød og ål; å, æ, ø.",
    "Šiaurės žąsys grįžo ęžerų link, įdomu, ūkana.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю — всё!",
    "Є їжак ґречний, який з'їв яблуко; Київ, Україна.",
    "Жълтата дюля беше щастлива, че пухът замръзна като гьон.",
    "Ђорђе је чувао њиве, љуту џезву и ћуп.",
    "Γαζίες καὶ μυρτιὲς δὲν θὰ βρῶ πιὰ στὸ χρυσαφὶ ξέφωτο.",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας· πού πας;",
    "אני אוהב לקרוא ספרים בעברית, ושָׁלוֹם עם ניקוד.",
    "اللغة العربية جميلة جدًّا، والطَّقْسُ اليَوْمَ حارٌّ؛ أليس كذلك؟",
    "زبان فارسی شیرین است و می‌خواهم آن را یاد بگیرم.",
    "یہ اردو کا ایک جملہ ہے جس میں ٹ، ڈ اور ڑ ہیں۔",
    "हिन्दी में लिखा हुआ वाक्य: क्षत्रिय, ज्ञान, श्री, कर्त्तव्य।",
    "মাননীয় প্রধান শিক্ষক, বাংলাদেশে আজ বৃষ্টি হচ্ছে।",
    "ਪੰਜਾਬੀ ਵਿੱਚ ਇੱਕ ਵਾਕ ਇੱਥੇ ਹੈ।",
    "ગુજરાતી ભાષામાં એક વાક્ય અહીં છે.",
    "தமிழ் மொழியில் ஒரு வாக்கியம்: கொஞ்சம் ஸ்ரீ.",
    "తెలుగులో ఒక వాక్యం ఇక్కడ ఉంది: స్త్రీ, క్షమ.",
    "ಕನ್ನಡದಲ್ಲಿ ಒಂದು ವಾಕ್ಯ ಇಲ್ಲಿದೆ.",
    "മലയാളത്തിൽ ഒരു വാക്യം ഇവിടെ ഉണ്ട്.",
    "මෙය සිංහල වාක්‍යයකි, ශ්‍රී ලංකාව.",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ เช่น น้ำ ไม่ใช่ ผู้ใหญ่",
    "ພາສາລາວບໍ່ມີຊ່ອງຫວ່າງລະຫວ່າງຄຳ",
    "မြန်မာဘာသာစကားဖြင့် ရေးထားသော စာကြောင်း။",
    "ភាសាខ្មែរមានអក្សរច្រើនណាស់។",
    "བོད་ཡིག་ནི་སྐད་ཡིག་ཅིག་རེད།",
    "ქართული ენა ძალიან ლამაზია.",
    "Հայերենը շատ հին լեզու է։",
    "አማርኛ በኢትዮጵያ የሚነገር ቋንቋ ነው።",
    "今天天气很好，我们一起去公园散步吧！你觉得怎么样？",
    "繁體中文與簡體中文的寫法不同：龍、龜、鬱。",
    "私は毎朝コーヒーを飲みます。ｶﾞｷﾞｸﾞ、ヴァイオリン、きゃりーぱみゅ。",
    "한국어 문장입니다: 값을 읽다, 뷁, ㅋㅋㅋ, 안녕하세요!",
    "ᄒᆞᆫ글 옛글자와 자모 분리: 한글",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕞𝕒𝕥𝕙 𝓼𝓬𝓻𝓲𝓹𝓽 and 𐍈𐌰𐌹𐌻, 𓀀𓂀, 𠜎𠜱𠝹",
    "Mixed: naïve Москва 北京 القاهرة दिल्ली 서울 in one line.",
    "ⅠⅡⅢ ½ ¾ ² ³ ₄ ① ② ㊗ ㍿ ﬁ ﬂ ＡＢＣ １２３",
)
EMOJI = (
    "😀 😃 😄 🥲 🫠",
    "👍🏽 👩🏿‍🚀 🧑🏻‍🤝‍🧑🏾 💅🏼",
    "👨‍👩‍👧‍👦 👩‍❤️‍💋‍👨 🏳️‍🌈 🏴‍☠️",
    "🇩🇪🇫🇷🇺🇦🇯🇵 🇩🇪 🇩🇪🇩",
    "🏴󠁧󠁢󠁳󠁣󠁴󠁿 1️⃣2️⃣#️⃣*️⃣",
    "❤ ❤️ ☎ ☎️ ™ ™️ © ©️",
    "no space😀between👍words🇫🇷here",
    "😀😀😀😀😀😀😀😀",
    "(╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯ ʕ•ᴥ•ʔ",
    "→ ← ↑ ↓ ⇒ ∀x∈ℝ: x²≥0 ∧ ∑ᵢ aᵢ ≠ ∅ ∫ ∂ √",
)
NUMBERS = (
    "0 1 12 123 1234 12345 123456 1234567 12345678 123456789",
    "3.14159 -2.5e-10 +1,000,000.00 1_000_000 0x1F 0b1010 0o17",
    "2026-11-24T05:30:00.123Z 24/11/2026 5:30pm",
    "€1.234,56 $99.99 £5 ¥1000 ₹250 12% 5‰ 3°C",
    "٠١٢٣٤٥٦٧٨٩ ۰۱۲۳۴۵۶۷۸۹ ०१२३४५६७८९ ๐๑๒๓ 〇一二三",
    "192.168.0.1:8080 +49 (0)30 123-456 ISBN 978-3-16-148410-0",
    "007 00 000 0000 00000000000000000000",
    "1a2b3c 4D5E6F v1.2.3-rc.4+build.5 R2D2 x86_64",
    "1+1=2; 2*3=6; 7/8<1; 5!=120; 10%3==1; 2**10=1024",
    "99999999999999999999999999999999999999",
)
CODE = (
    "def f(x: int) -> str:\n    return f'{x!r:>10}'  # comment\n",
    "\tif (a[i] != b[j]) {\n\t\treturn NULL;\n\t}\n",
    "for (let i = 0; i < n; i++) { console.log(`${i}: ${xs[i] ?? 'none'}`); }",
    "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x_%' -- end\n;",
    "<div class=\"a b\" data-x='1'>&nbsp;&lt;text&gt;</div><!-- note -->",
    '{"key": [1, 2.5, null, true], "nested": {"a": "\\u00e9\\n"}}',
    '#include <stdio.h>\nint main(void) { printf("%d\\n", 42); return 0; }\n',
    'fn main() -> Result<(), Box<dyn Error>> { let x: &\'static str = "hi"; Ok(()) }',
    "$ grep -rn 'foo.*bar' ./src | awk '{print $1}' > out.txt 2>&1 &",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@mail.example.com C:\\Temp\\new.txt",
    "\\begin{equation} \\frac{a}{b} = \\sum_{i=1}^{n} x_i^2 \\end{equation}",
    "| a | b |\n|---|---|\n| 1 | `x` |\n\n- [ ] todo\n1. one\n   * two\n```py\nx\n```",
    "camelCase PascalCase snake_case kebab-case SCREAMING_SNAKE __dunder__ i18n HTTPServer",
    "a=b==c===d!=e!==f<=g>=h<<i>>j&&k||l??m?.n::o->p=>q",
    "((((()))))[[[[]]]]{{{{}}}}<<<<>>>>\"\"\"'''```---===___***",
)
SPECIAL_AS_TEXT = (
    "<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<start_of_turn>user\nhi<end_of_turn>\n", "[INST] hi [/INST]", "<|user|>\nhi<|end|>\n",
    "<0x0A> <0x20> <0xE2>", "[PAD0] [UNK] [CLS] [SEP] [MASK]", "<unused0><mask>", "▁under▁score ▁▁",
    "Ġbyte Ċlevel ĉmarks Â", "< s > <|im_ start|> <|im_end| >", "<tool_call> <think></think>",
)  # fmt: skip
ODD = (
    "",
    "\x00",
    "a\x00b",
    "\x01\x02\x03\x07\x08\x0b\x0c\x0e\x1b[31mred\x1b[0m\x7f",
    "\x80\x85\x9f",
    "zero\u200bwidth \u200cnon\u200djoiner \ufeffBOM \u2060word",
    "\u202eright-to-left override\u202c \u200fmark\u200e",
    "soft\u00adhyphen non\u2011breaking\u2011hyphen em\u2014dash\u2013en \u2026",
    "e\u0301 a\u0308 o\u0302\u0323 n\u0303 A\u030a Z\u0335a\u0336l\u0337g\u0338o\u0321",
    "\u0301\u0302\u0303 combining first",
    "\ufffd\ufffe\uffff\ufffc",
    "\ue000\uf8ff private \U000f0000\U0010ffff",
    "\U0001f468\u200d \u200d\U0001f469 \ufe0f\U0001f3fd",
    "\u0e33\u0e4d\u0e32 \u1100\u1161\u11a8 \uac01",
    "I\u0307stanbul \u0131 \u017f \u212a \u2126 \u00b5",
    "“curly” ‘single’ «guillemets» „low“ ‹›  「日本」『』【】（全角）",
    "'s 't 're 've 'm 'll 'd ’s ’t 'S 'T 'RE x's x'T 'sx 'lly",
    "!!!???...,,,;;;:::---___***///\\\\\\|||~~~^^^&&&%%%$$$###@@@",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the the the the the the the the the the the the the the",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "x" * 300,
    "ab" * 150,
    "中" * 100,
    "é" * 100,
)
SPACES = (
    " ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u3000",
    "\u2009",
    "\v",
    "\f",
    "\u2028",
    "\u0085",
)
RUNS = (1, 2, 3, 4, 5, 8, 16, 17)


def corpus() -> tuple[str, ...]:
    """The fixed texts, without repetition, always in the same order."""
    texts = [*SENTENCES, *EMOJI, *NUMBERS, *CODE, *SPECIAL_AS_TEXT, *ODD, *_whitespace()]
    texts += [text.upper() for text in SENTENCES[:20]]
    texts += [f" {text}" for text in SENTENCES[:6]] + [f"{text}\n\n" for text in SENTENCES[40:46]]
    texts += [unicodedata.normalize("NFD", text) for text in SENTENCES[2:12]]
    texts.append("\n".join(SENTENCES))
    return tuple(dict.fromkeys(texts))


def _whitespace() -> Iterable[str]:
    for space in SPACES:
        yield space
        yield f"a{space}b"
        yield f"{space}a{space}{space}b{space}"
    for run in RUNS:
        yield " " * run
        yield f"a{' ' * run}b"
        yield f"{' ' * run}def x():\n{' ' * run}pass"
        yield "\n" * run + "a"
        yield f"x{chr(9) * run}y{chr(10) * run}"
    yield " \n \n\n \t \n\t \r\n \r\n\r\n a \n"
    yield "trailing   \nspaces\t\t\n  and indents\n\n\n"


def model_texts(special_tokens: Iterable[str], rendered_chat: str | None = None) -> tuple[str, ...]:
    """Texts of one model's own: each special token alone, within words and doubled; its chat.

    `rendered_chat` is a conversation put through the model's chat template.
    """
    texts = []
    for token in special_tokens:
        texts += [token, f"before {token} after", f"x{token}y", f"{token}{token}", f" {token}\n"]
    if rendered_chat:
        texts.append(rendered_chat)
    return tuple(dict.fromkeys(texts))
