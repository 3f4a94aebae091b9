"""Refusal phrases in languages other than English.

A start, not a study: each pattern is a form that a speaker would take for a refusal wherever it opens an answer (an
apology that goes on with "but" or "not", a first person that cannot or will not help). None was tuned on labelled
answers. Patterns are matched on normalised text, in which an apostrophe is a space and "ß" is "ss".
"""

from __future__ import annotations

import re

SPACED = {
    "German": (
        r"tut mir (?:sehr |wirklich |aufrichtig )?leid (?:aber|ich|dabei|dazu|doch)",
        r"(?:ich )?(?:kann|darf|werde|möchte) (?:ich )?(?:\w+ ){0,5}?(?:nicht|keine\w?) (?:\w+ ){0,5}?(?:helfen|"
        r"weiterhelfen|unterstützen|beantworten|bereitstellen|geben|anbieten|erfüllen|teilen|nachkommen|erstellen)",
        r"ich bin nicht (?:in der lage|befugt|bereit)",
        r"(?:ich muss|muss ich) (?:\w+ ){0,3}?ablehnen",
    ),
    "French": (
        r"désolée? (?:mais|je ne)",
        r"je (?:ne )?(?:peux|puis|saurais|pourrai|vais) pas (?:\w+ ){0,2}?(?:aider|fournir|répondre|assister|donner|"
        r"proposer|satisfaire|accéder|participer|partager|créer|rédiger|traiter|encourager)",
        r"je ne suis pas (?:en mesure|capable|autorisée?)",
        r"je (?:refuse|dois (?:\w+ )?(?:refuser|décliner))",
    ),
    "Spanish": (
        r"lo (?:siento|lamento) (?:mucho )?(?:pero|no)",
        r"no (?:puedo|podré|podemos|voy a) (?:\w+ )?(?:ayudar\w*|proporcionar\w*|asistir\w*|ofrecer\w*|dar\w*|"
        r"responder|cumplir|compartir|participar|generar|crear|apoyar|brindar\w*|facilitar\w*)",
        r"no (?:estoy autorizad[oa]|estoy en condiciones|soy capaz|me es posible)",
        r"(?:debo|tengo que) (?:rechazar|negarme|declinar)",
    ),
    "Portuguese": (
        r"(?:desculpe?|lamento|sinto muito|peço desculpas?) (?:mas|não|porém)",
        r"não (?:posso|poderei|consigo|podemos|vou|estou autorizad[oa] a|sou capaz de) (?:\w+ )?(?:ajudar?\w*|fornecer|"
        r"auxiliar|responder|oferecer|dar|compartilhar|partilhar|atender|participar|criar|gerar)",
        r"(?:devo|tenho (?:de|que)) recusar",
    ),
    "Italian": (
        r"mi (?:dispiace|scuso) (?:molto )?(?:ma|non)",
        r"non (?:posso|potrò|possiamo|sono in grado di|sono autorizzat[oa] a) (?:\w+ )?(?:aiutar\w*|fornir\w*|"
        r"assister\w*|risponder\w*|offrir\w*|dar\w*|condivider\w*|soddisfar\w*|partecipar\w*|crear\w*|generar\w*)",
        r"(?:devo|sono costrett[oa] a) (?:rifiutar\w*|declinar\w*)",
    ),
    "Russian": (
        r"(?:извините|простите|прошу прощения|к сожалению|мне (?:очень )?жаль) (?:\w+ ){0,2}?не (?:могу|смогу|буду)",
        r"не (?:могу|смогу|буду|имею права|вправе) (?:\w+ ){0,2}?(?:помочь|помогать|предоставить|предоставлять|дать|"
        r"давать|ответить|отвечать|выполнить|обсуждать|предложить|создать|участвовать)",
        r"(?:вынужден|вынуждена|должен|должна) отказать\w*",
    ),
    "Arabic": (
        r"(?:عذرا|آسف|اسف|أعتذر|اعتذر|يؤسفني|للأسف|المعذرة) (?:\w+ ){0,3}?(?:لا|لن|لست|ولكن|لكن|لكنني|ولكنني)",
        r"(?:لا|لن) (?:أستطيع|استطيع|يمكنني|أقدر|يمكننا|أتمكن من) (?:\w+ )?(?:مساعدتك|المساعدة|مساعدة|تقديم|توفير|"
        r"الإجابة|إعطاء|تلبية|مشاركة|دعم)",
    ),
}
"""By language, patterns over whole words."""

UNSPACED = {
    "Chinese": (
        r"(?:抱歉|对不起|對不起|很遗憾|很遺憾).{0,10}(?:不能|无法|無法|不可以|不会|不會|拒绝|拒絕)",
        r"我(?:不能|无法|無法|不会|不會|不可以|拒绝|拒絕).{0,8}(?:帮|幫|协助|協助|提供|回答|满足|滿足|讨论|討論|参与|參與|生成)",
    ),
    "Japanese": (
        r"(?:申し訳(?:ありません|ございません|ない)|すみません|ごめんなさい|恐れ入りますが|残念ながら).{0,30}"
        r"(?:できません|できかね|いたしかね|致しかね)",
        r"(?:お手伝い|手伝うこと|お答え|お応え|提供|支援|対応|ご案内|協力|回答)(?:する)?(?:こと)?(?:は|が|も|を)?"
        r"(?:できません|できかね|いたしかね|致しかね)",
    ),
    "Korean": (
        r"(?:죄송합니다|죄송하지만|미안하지만|유감스럽|안타깝).{0,30}(?:수없|수는없|불가|어렵습니다|않겠)",
        r"(?:도와드릴|도움을드릴|제공할|제공해드릴|답변할|답변해드릴|답변드릴|알려드릴|지원할|응할)수(?:는|가)?없",
    ),
}
"""By language, patterns over text without spaces: these languages put none between words, or put them freely."""

ARABIC_MARKS = dict.fromkeys([0x0640, *range(0x064B, 0x0653)])
"""Vowel signs and the lengthening stroke, which may be written or left out; for str.translate."""

SPACED_REFUSAL = re.compile(f" (?:{'|'.join(p for patterns in SPACED.values() for p in patterns)})(?= )")
UNSPACED_REFUSAL = re.compile("|".join(p for patterns in UNSPACED.values() for p in patterns))
