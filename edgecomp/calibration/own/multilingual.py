"""Multilingual: the same six everyday questions in each of sixteen languages (R33)."""

from __future__ import annotations

# A language ; then question | answer, one a line.
LANGUAGES = """
Spanish
¿Cómo se prepara una taza de té? | Calienta agua hasta que hierva, viértela sobre las hojas de té, espera tres minutos y retira las hojas.
¿Qué es una biblioteca? | Es un lugar donde se guardan libros que la gente puede leer allí o llevarse prestados a casa.
Nombra tres frutas y di de qué color son. | La fresa es roja, el plátano es amarillo y la ciruela es morada.
¿Para qué sirven los árboles en una ciudad? | Dan sombra, refrescan y limpian el aire, y ofrecen refugio a los pájaros.
Escribe un mensaje breve para agradecer a una profesora. | Querida profesora: gracias por su paciencia. Con usted aprendí a disfrutar de las matemáticas. Un saludo, Lucía.
¿Qué hago si pierdo las llaves? | Busca primero en los últimos lugares donde estuviste, pregunta a tus vecinos y, si no aparecen, llama a un cerrajero.
French
Comment prépare-t-on une tasse de thé ? | On fait bouillir de l'eau, on la verse sur les feuilles de thé, on attend trois minutes, puis on retire les feuilles.
Qu'est-ce qu'une bibliothèque ? | C'est un lieu où l'on conserve des livres que chacun peut lire sur place ou emprunter.
Nomme trois fruits et dis de quelle couleur ils sont. | La fraise est rouge, la banane est jaune et la prune est violette.
À quoi servent les arbres dans une ville ? | Ils donnent de l'ombre, rafraîchissent et purifient l'air, et abritent les oiseaux.
Écris un court message pour remercier une enseignante. | Chère Madame, merci pour votre patience. Grâce à vous, j'ai pris goût aux mathématiques. Bien cordialement, Luc.
Que faire si je perds mes clés ? | Cherche d'abord dans les derniers endroits où tu es passé, demande à tes voisins et, si elles restent introuvables, appelle un serrurier.
German
Wie bereitet man eine Tasse Tee zu? | Man bringt Wasser zum Kochen, gießt es über die Teeblätter, wartet drei Minuten und nimmt die Blätter heraus.
Was ist eine Bibliothek? | Das ist ein Ort, an dem Bücher aufbewahrt werden, die man dort lesen oder ausleihen kann.
Nenne drei Früchte und ihre Farbe. | Die Erdbeere ist rot, die Banane ist gelb und die Pflaume ist violett.
Wozu sind Bäume in einer Stadt gut? | Sie spenden Schatten, kühlen und reinigen die Luft und bieten Vögeln einen Unterschlupf.
Schreibe eine kurze Nachricht, die einer Lehrerin dankt. | Liebe Frau Berger, vielen Dank für Ihre Geduld. Durch Sie macht mir Mathematik Freude. Herzliche Grüße, Jan
Was mache ich, wenn ich meine Schlüssel verliere? | Suche zuerst dort, wo du zuletzt warst, frage die Nachbarn, und wenn sie nicht auftauchen, rufe einen Schlüsseldienst.
Italian
Come si prepara una tazza di tè? | Si fa bollire l'acqua, la si versa sulle foglie di tè, si aspettano tre minuti e si tolgono le foglie.
Che cos'è una biblioteca? | È un luogo dove si conservano libri che si possono leggere sul posto o prendere in prestito.
Nomina tre frutti e di' di che colore sono. | La fragola è rossa, la banana è gialla e la prugna è viola.
A che cosa servono gli alberi in una città? | Danno ombra, rinfrescano e puliscono l'aria e offrono riparo agli uccelli.
Scrivi un breve messaggio per ringraziare un'insegnante. | Gentile professoressa, grazie per la Sua pazienza. Con Lei ho imparato ad amare la matematica. Cordiali saluti, Marta
Che cosa faccio se perdo le chiavi? | Cerca prima negli ultimi posti in cui sei stato, chiedi ai vicini e, se non si trovano, chiama un fabbro.
Portuguese
Como se prepara uma xícara de chá? | Ferva a água, despeje-a sobre as folhas de chá, espere três minutos e retire as folhas.
O que é uma biblioteca? | É um lugar onde se guardam livros que as pessoas podem ler ali ou levar emprestados.
Diga o nome de três frutas e a cor de cada uma. | O morango é vermelho, a banana é amarela e a ameixa é roxa.
Para que servem as árvores numa cidade? | Elas dão sombra, refrescam e limpam o ar e servem de abrigo aos pássaros.
Escreva uma mensagem curta para agradecer a uma professora. | Cara professora, obrigado pela paciência. Com a senhora aprendi a gostar de matemática. Um abraço, Rui
O que faço se perder as chaves? | Procure primeiro nos últimos lugares onde esteve, pergunte aos vizinhos e, se não aparecerem, chame um chaveiro.
Dutch
Hoe zet je een kopje thee? | Breng water aan de kook, giet het over de theeblaadjes, wacht drie minuten en haal de blaadjes eruit.
Wat is een bibliotheek? | Dat is een plek waar boeken bewaard worden die je daar kunt lezen of kunt lenen.
Noem drie vruchten en hun kleur. | De aardbei is rood, de banaan is geel en de pruim is paars.
Waar zijn bomen in een stad goed voor? | Ze geven schaduw, koelen en zuiveren de lucht en bieden vogels een schuilplaats.
Schrijf een kort bericht om een lerares te bedanken. | Beste mevrouw De Wit, bedankt voor uw geduld. Dankzij u vind ik wiskunde leuk. Hartelijke groet, Bram
Wat doe ik als ik mijn sleutels kwijtraak? | Zoek eerst op de plaatsen waar je het laatst was, vraag het de buren en bel een slotenmaker als ze niet opduiken.
Polish
Jak przygotować filiżankę herbaty? | Zagotuj wodę, zalej nią liście herbaty, odczekaj trzy minuty i wyjmij liście.
Co to jest biblioteka? | To miejsce, w którym przechowuje się książki; można je czytać na miejscu albo wypożyczyć.
Wymień trzy owoce i ich kolory. | Truskawka jest czerwona, banan jest żółty, a śliwka jest fioletowa.
Po co w mieście są drzewa? | Dają cień, chłodzą i oczyszczają powietrze oraz są schronieniem dla ptaków.
Napisz krótką wiadomość z podziękowaniem dla nauczycielki. | Szanowna Pani, dziękuję za cierpliwość. Dzięki Pani polubiłem matematykę. Z pozdrowieniami, Marek
Co zrobić, gdy zgubię klucze? | Najpierw poszukaj tam, gdzie ostatnio byłeś, zapytaj sąsiadów, a jeśli się nie znajdą, zadzwoń po ślusarza.
Russian
Как заварить чашку чая? | Вскипятите воду, залейте ею чайные листья, подождите три минуты и выньте листья.
Что такое библиотека? | Это место, где хранятся книги, которые можно читать там или брать домой.
Назови три плода и их цвет. | Клубника красная, банан жёлтый, а слива фиолетовая.
Зачем в городе нужны деревья? | Они дают тень, охлаждают и очищают воздух и служат убежищем для птиц.
Напиши короткое сообщение с благодарностью учительнице. | Уважаемая Анна Петровна, спасибо за Ваше терпение. Благодаря Вам я полюбил математику. С уважением, Олег
Что делать, если я потеряю ключи? | Сначала поищите там, где были в последний раз, спросите соседей, а если ключи не найдутся, вызовите мастера.
Turkish
Bir fincan çay nasıl hazırlanır? | Suyu kaynatın, çay yapraklarının üzerine dökün, üç dakika bekleyin ve yaprakları çıkarın.
Kütüphane nedir? | İnsanların orada okuyabildiği ya da ödünç alabildiği kitapların saklandığı yerdir.
Üç meyve ve renklerini söyle. | Çilek kırmızıdır, muz sarıdır, erik mordur.
Ağaçlar bir şehirde ne işe yarar? | Gölge verirler, havayı serinletip temizlerler ve kuşlara barınak olurlar.
Bir öğretmene teşekkür eden kısa bir mesaj yaz. | Sayın öğretmenim, sabrınız için teşekkür ederim. Sizin sayenizde matematiği sevdim. Saygılarımla, Deniz
Anahtarlarımı kaybedersem ne yapmalıyım? | Önce en son bulunduğun yerlere bak, komşularına sor, bulamazsan bir çilingir çağır.
Indonesian
Bagaimana cara membuat secangkir teh? | Didihkan air, tuangkan ke daun teh, tunggu tiga menit, lalu angkat daunnya.
Apa itu perpustakaan? | Itu adalah tempat menyimpan buku yang boleh dibaca di sana atau dipinjam.
Sebutkan tiga buah dan warnanya. | Stroberi berwarna merah, pisang berwarna kuning, dan plum berwarna ungu.
Apa gunanya pohon di kota? | Pohon memberi keteduhan, menyejukkan dan membersihkan udara, serta menjadi tempat berlindung burung.
Tulis pesan singkat untuk berterima kasih kepada seorang guru. | Ibu Sari yang terhormat, terima kasih atas kesabaran Ibu. Berkat Ibu, saya jadi suka matematika. Salam, Budi
Apa yang harus saya lakukan jika kunci saya hilang? | Cari dulu di tempat terakhir kamu berada, tanyakan kepada tetangga, dan jika tidak ketemu, panggil tukang kunci.
Chinese
怎样泡一杯茶？ | 把水烧开，倒在茶叶上，等三分钟，然后取出茶叶。
图书馆是什么？ | 图书馆是收藏书籍的地方，人们可以在那里阅读，也可以把书借回家。
说出三种水果和它们的颜色。 | 草莓是红色的，香蕉是黄色的，李子是紫色的。
城市里的树木有什么用处？ | 它们提供树荫，使空气凉爽清新，也是鸟儿的家。
写一条简短的信息，感谢一位老师。 | 王老师，谢谢您的耐心。因为您，我喜欢上了数学。祝您一切顺利！小林
我丢了钥匙，该怎么办？ | 先去最后待过的地方找找，问问邻居；如果还是找不到，就请开锁师傅。
Japanese
お茶はどうやって入れますか。 | お湯を沸かして茶葉に注ぎ、三分待ってから茶葉を取り出します。
図書館とは何ですか。 | 本を集めて保管し、そこで読んだり借りたりできる場所です。
果物を三つ挙げて、その色を言ってください。 | いちごは赤、バナナは黄色、すももは紫です。
町の木は何の役に立ちますか。 | 日陰を作り、空気を涼しくきれいにし、鳥のすみかになります。
先生に感謝する短いメッセージを書いてください。 | 田中先生、いつも辛抱強く教えてくださり、ありがとうございます。おかげで数学が好きになりました。
鍵をなくしたら、どうすればいいですか。 | まず最後にいた場所を探し、近所の人に聞いてみましょう。見つからなければ、鍵屋を呼んでください。
Arabic
كيف أحضّر كوبًا من الشاي؟ | اغلِ الماء واسكبه على أوراق الشاي، وانتظر ثلاث دقائق، ثم أخرج الأوراق.
ما هي المكتبة العامة؟ | هي مكان تُحفظ فيه الكتب ويستطيع الناس قراءتها هناك أو استعارتها.
اذكر ثلاث فواكه وألوانها. | الفراولة حمراء، والموز أصفر، والبرقوق بنفسجي.
ما فائدة الأشجار في المدينة؟ | تعطي الظل، وتبرّد الهواء وتنقّيه، وتؤوي الطيور.
اكتب رسالة قصيرة تشكر فيها معلّمة. | معلّمتي العزيزة، شكرًا على صبرك. بفضلك أحببت الرياضيات. مع تحياتي، سامي
ماذا أفعل إذا أضعت مفاتيحي؟ | ابحث أولًا في آخر الأماكن التي كنت فيها، واسأل الجيران، وإن لم تجدها فاتصل بصانع الأقفال.
Hindi
एक कप चाय कैसे बनाते हैं? | पानी उबालिए, उसे चाय की पत्तियों पर डालिए, तीन मिनट रुकिए और फिर पत्तियाँ निकाल लीजिए।
पुस्तकालय क्या होता है? | यह वह जगह है जहाँ किताबें रखी जाती हैं, जिन्हें लोग वहीं पढ़ सकते हैं या घर ले जा सकते हैं।
तीन फलों के नाम और उनके रंग बताइए। | स्ट्रॉबेरी लाल होती है, केला पीला होता है और जामुन बैंगनी होता है।
शहर में पेड़ किस काम आते हैं? | वे छाया देते हैं, हवा को ठंडा और साफ़ करते हैं और पक्षियों को घर देते हैं।
एक अध्यापिका को धन्यवाद देने वाला छोटा संदेश लिखिए। | आदरणीय मैडम, आपके धैर्य के लिए धन्यवाद। आपकी वजह से मुझे गणित अच्छा लगने लगा। आपका, रवि
अगर मेरी चाबियाँ खो जाएँ तो क्या करूँ? | पहले वहाँ ढूँढिए जहाँ आप आख़िरी बार थे, पड़ोसियों से पूछिए, और न मिलें तो ताला बनाने वाले को बुलाइए।
Korean
차 한 잔은 어떻게 끓이나요? | 물을 끓여 찻잎 위에 붓고 3분 기다린 다음 찻잎을 건져 냅니다.
도서관은 무엇인가요? | 책을 모아 두고 사람들이 그곳에서 읽거나 빌려 갈 수 있는 곳입니다.
과일 세 가지와 그 색깔을 말해 보세요. | 딸기는 빨간색, 바나나는 노란색, 자두는 보라색입니다.
도시의 나무는 어떤 쓸모가 있나요? | 그늘을 만들고 공기를 시원하고 깨끗하게 하며 새들의 보금자리가 됩니다.
선생님께 감사하는 짧은 메시지를 써 주세요. | 김 선생님, 참을성 있게 가르쳐 주셔서 감사합니다. 덕분에 수학을 좋아하게 되었습니다. 민수 올림
열쇠를 잃어버리면 어떻게 하나요? | 먼저 마지막으로 있었던 곳을 찾아보고 이웃에게 물어보세요. 그래도 없으면 열쇠 수리공을 부르세요.
Vietnamese
Pha một tách trà như thế nào? | Đun sôi nước, rót lên lá trà, đợi ba phút rồi lấy lá trà ra.
Thư viện là gì? | Đó là nơi lưu giữ sách để mọi người đọc tại chỗ hoặc mượn về nhà.
Hãy kể tên ba loại quả và màu của chúng. | Quả dâu tây màu đỏ, quả chuối màu vàng và quả mận màu tím.
Cây xanh trong thành phố có ích gì? | Cây cho bóng mát, làm không khí mát và sạch hơn, và là nơi trú ẩn của chim.
Viết một tin nhắn ngắn cảm ơn cô giáo. | Thưa cô, em cảm ơn cô đã kiên nhẫn. Nhờ cô mà em thích học toán. Em chào cô, Minh
Tôi phải làm gì nếu mất chìa khóa? | Trước hết hãy tìm ở những nơi bạn vừa đến, hỏi hàng xóm, và nếu vẫn không thấy thì gọi thợ sửa khóa.
""".strip()  # noqa: E501

QUESTIONS_PER_LANGUAGE = 6


def by_language() -> dict[str, list[tuple[str, str]]]:
    """The six pairs of each language."""
    lines = LANGUAGES.splitlines()
    result = {}
    for start in range(0, len(lines), QUESTIONS_PER_LANGUAGE + 1):
        language, *rows = lines[start : start + QUESTIONS_PER_LANGUAGE + 1]
        split = (row.split(" | ") for row in rows)
        result[language] = [(question, answer) for question, answer in split]
    return result


def pairs() -> list[tuple[str, str]]:
    """96 pairs; the languages take turns, so that any run of sixteen is balanced."""
    return [pair for row in zip(*by_language().values(), strict=True) for pair in row]
