"""Pages in Spanish and Chinese, siblings of English kinds."""

from sample_crawl.charts import BarChart
from sample_crawl.instruments import Abacus, Clock
from sample_crawl.pages import Draft, Page
from sample_crawl.sceneries import Tower

SPANISH_COLOURS = {
    "red": "rojo",
    "blue": "azul",
    "green": "verde",
    "orange": "naranja",
    "purple": "morado",
    "black": "negro",
}
CHINESE_COLOURS = {
    "red": "红色",
    "blue": "蓝色",
    "green": "绿色",
    "brown": "棕色",
    "purple": "紫色",
    "black": "黑色",
    "orange": "橙色",
}
SPANISH_GOODS = ("pescado", "pan", "fruta", "miel", "queso", "flores", "especias", "cestas")


def faro(draft: Draft) -> Page:
    """A lighthouse page in Spanish."""
    picture, name = draft.picture_rng, draft.name
    tower = Tower(
        picture.randint(2, 4),
        picture.choice(tuple(SPANISH_COLOURS)),
        picture.randint(1, 4),
        picture.choice(("left", "right")),
    )
    height, steps, year, keeper = (
        draft.rng.randint(17, 61),
        draft.rng.randint(80, 270),
        draft.rng.randint(1801, 1915),
        draft.person(),
    )
    draft.say(f"El faro de {name}")
    draft.say(
        draft.one_of(
            f"El faro de {name} mide {height} metros y se encendió por primera vez en {year}.",
            f"Desde {year} alumbra la costa el faro de {name}, de {height} metros de altura.",
        ),
        f"Una escalera de {steps} peldaños sube hasta la linterna.",
        draft.one_of(f"Su primer farero se llamaba {keeper}.", f"El primer farero fue {keeper}."),
    )
    draft.show(tower, f"El faro de {name} al anochecer.", alt_text="faro con franjas pintadas")
    draft.say(
        draft.some(
            2,
            "Las franjas sirven de señal durante el día; de noche solo cuenta el ritmo de la luz.",
            "Cada cuatro veranos se vuelve a pintar la torre con el mismo color.",
            f"En el diario del farero se nombran {draft.rng.randint(4, 40)} tormentas y un solo naufragio.",
            "En cada ventana iluminada hay alguien que todavía trabaja.",
        )
    )
    draft.tell(f"¿Cuántos metros mide el faro de {name}?", f"{height} metros")
    draft.tell(f"¿Quién fue el primer farero de {name}?", keeper)
    draft.tell(f"¿De qué color son las franjas del faro de {name}?", SPANISH_COLOURS[tower.colour], source="picture")
    draft.tell(f"¿Cuántas franjas de color tiene el faro de {name}?", str(tower.num_bands), source="picture")
    return draft.page(f"El faro de {name}", language="es")


def mercado(draft: Draft) -> Page:
    """A market page in Spanish; the chart's labels are Spanish too."""
    picture, name = draft.picture_rng, draft.name
    labels = tuple(picture.sample(SPANISH_GOODS, 4))
    values = tuple(picture.sample(range(6, 97), 4))
    chart = BarChart("Cajas vendidas por puesto", labels, values, tuple(picture.sample(tuple(SPANISH_COLOURS), 4)))
    named, day, year = draft.rng.randrange(4), draft.one_of("martes", "jueves", "sábado"), draft.rng.randint(1510, 1830)
    draft.say(f"Día de mercado en {name}")
    draft.say(
        draft.one_of(
            f"En {name} hay mercado cada {day} desde {year}.",
            f"Cada {day}, desde {year}, la plaza de {name} se llena de puestos.",
        ),
        f"El día de nuestra visita, el puesto de {labels[named]} vendió {values[named]} cajas.",
    )
    draft.show(chart, f"Cajas vendidas en un día de mercado en {name}.", alt_text="gráfico de barras")
    draft.say(
        draft.some(
            2,
            "La campana de la torre abre y cierra la venta.",
            f"Lo que sobra se lleva a la escuela: unas {draft.rng.randint(2, 19)} cajas por semana.",
            "Cuando llueve se vende la mitad, menos en el puesto de los paraguas.",
        )
    )
    best = max(range(4), key=lambda place: values[place])
    draft.tell(f"¿Qué día hay mercado en {name}?", day)
    draft.tell(f"¿Cuántas cajas vendió el puesto de {labels[named]} en {name}?", str(values[named]))
    draft.tell(f"¿Qué puesto vendió más cajas en {name}?", labels[best], source="picture")
    return draft.page(f"Día de mercado en {name}", language="es")


def zhong_lou(draft: Draft) -> Page:
    """A tower clock page in Chinese, where sentences follow each other without a space."""
    draft.sentence_gap = ""
    picture, name = draft.picture_rng, draft.name
    clock = Clock(
        picture.randint(1, 12),
        picture.randrange(0, 60, 5),
        picture.choice(("brown", "blue", "green", "red", "black", "purple")),
        picture.random() < 0.5,
    )
    year, weight, stopped = draft.rng.randint(1650, 1880), draft.rng.randint(90, 700), draft.rng.randint(1900, 1990)
    draft.say(f"{name}的钟楼")
    draft.say(
        draft.one_of(
            f"{name}的钟楼建于{year}年,钟的机件重{weight}公斤。",
            f"{year}年,人们在{name}建起了这座钟楼,机件共重{weight}公斤。",
        ),
        f"{stopped}年以后,指针再也没有走动过。",
    )
    draft.show(clock, f"{name}的钟停下时的样子。", alt_text="有两根指针的钟面")
    draft.say(
        draft.some(
            2,
            "分针一小时转一圈,时针只转十二分之一圈。",
            "短针是时针,长针是分针。",
            f"钟楼的楼梯有{draft.rng.randint(60, 240)}级台阶。",
            "停了的钟每天也会准两次。",
        )
    )
    draft.tell(f"{name}的钟楼建于哪一年?", f"{year}年")
    draft.tell(f"{name}的钟的机件有多重?", f"{weight}公斤")
    draft.tell(f"{name}的钟停在几点几分?", clock.time, source="picture")
    draft.tell(f"{name}的钟的外圈是什么颜色?", CHINESE_COLOURS[clock.rim], source="picture")
    return draft.page(f"{name}的钟楼", language="zh")


def suan_pan(draft: Draft) -> Page:
    """A counting frame page in Chinese, where sentences follow each other without a space."""
    draft.sentence_gap = ""
    picture, name = draft.picture_rng, draft.name
    wires = picture.randint(3, 5)
    frame = Abacus(
        picture.randrange(10 ** (wires - 1), 10**wires), wires, picture.choice(("red", "blue", "green", "orange"))
    )
    goods, price = draft.one_of("木桶", "布匹", "木板", "麻袋"), draft.rng.randint(2, 30)
    draft.say(f"{name}的算架")
    draft.say(
        draft.one_of(f"{name}的仓库用一个算架来数{goods}。", f"在{name}的仓库里,{goods}是用算架数的。"),
        f"算架有{wires}根杆,每根杆上有九颗珠子,最右边的一根表示个位。",
        f"存放一天的费用是{price}克朗。",
    )
    draft.show(frame, f"傍晚清点以后,{name}的算架。", alt_text="算架")
    draft.say(
        draft.some(
            2, "拨到下面的珠子才算数。", "没有拨下珠子的杆表示零。", "满十就向左边的一根杆进一。", "珠子每年上一次油。"
        )
    )
    draft.tell(f"{name}的算架有几根杆?", str(wires))
    draft.tell(f"在{name}存放一天要多少钱?", f"{price}克朗")
    draft.tell(f"{name}的算架上是什么数?", str(frame.number), source="picture")
    draft.tell(f"{name}的算架上算数的珠子是什么颜色?", CHINESE_COLOURS[frame.colour], source="picture")
    return draft.page(f"{name}的算架", language="zh")
