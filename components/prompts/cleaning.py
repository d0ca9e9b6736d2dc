"""The task in what a prompt writer wrote: chat models greet, number, quote, think aloud and sign off, or refuse.

The phrases are those of the languages that OpenAssistant's data has most of.
"""

from __future__ import annotations

import re

from components.core.texts import without_thoughts


def _any_of(*phrases: str) -> str:
    """A group of alternatives, given as `a|b` for each language."""
    return f"(?:{'|'.join(phrases)})"


_TASK = _any_of(
    "task|prompt|instruction|question|request|exercise",
    "aufgabe|anfrage|frage|tâche|consigne|demande|tarea|pregunta|petición|instrucción",
    "tarefa|pedido|pergunta|compito|richiesta|domanda|taak|opdracht|zadanie",
    "задач[аиу]|задание|вопрос|запрос|завдання",
    "任务|任務|题目|問題|问题|指令|タスク|課題|質問|依頼|과제|작업|질문|요청",
    "المهمة|مهمة|سؤال|طلب|คำถาม|คำสั่ง|งาน|โจทย์",
)
_GREETING_WORDS = _any_of(
    "sure thing|sure|certainly|of course|absolutely|okay|ok|alright|all right|great|got it|yes|no problem|gladly",
    "klar|gerne|natürlich|selbstverständlich|bien sûr|d'accord|avec plaisir",
    "claro que sí|claro|por supuesto|certo|certamente|конечно|хорошо",
    "好的|当然|當然|没问题|はい|もちろん|承知しました|わかりました|네|물론입니다|물론이죠|알겠습니다",
    "بالتأكيد|حسنا|ได้เลย|แน่นอน|ค่ะ|ครับ",
)
_HERE = _any_of(
    r"here(?:'s|’s| is| are| you go)|this is|another|one more|the next|a new|my|i(?: have|'ve got|’ve got)",
    "hier ist|hier kommt|voici|voilà|aquí tienes|aquí está|aquí va|aqui está|ecco|вот|еще одна|ещё одна",
    "以下是|这是|這是|这里是|下面是|次の|以下は|こちらが|다음은|여기",
    "إليك|هذه|นี่คือ|ต่อไปนี้คือ",
)
_NEW_WORDS = _any_of(
    "new|next|another|one more|additional|further",
    "neue|nächste|weitere|nouvelle|nueva|nuova|nova|новая|新的|新",
)
_NEW = rf"(?:{_NEW_WORDS}\s*)?"
_BEHIND = r"(?:is|for|that|which|you|someone|a person|in|about|to|of|from|with|für|pour|para|per|для|です|입니다)\b"
_COLON, _MARKS = r"[*_\]]*[:：][*_]*", r"[*_]*+"

# "Task 9:", "**Task #9 (travel):**", "### New task": a label may do without a number, but not without an end.
_LABEL = re.compile(
    rf"[*_#\[\s]*+{_NEW}{_TASK}\]?\s*(?:\([^()\n]*\)\s*)?"
    r"(?:(?:n[°o]\.?|nr\.?|№|#)?\s*\d+\s*(?:(?:of|/|von|sur|de|из)\s*\d+\s*)?(?:\([^()\n]*\)\s*)?"
    rf"(?:[*_\]]*(?:[:：.)\]]|[-–—]\s){_MARKS}|{_MARKS}\n)|{_COLON})\s*",
    re.IGNORECASE,
)
# "Sure! Here is one more task that a person could give:"
_PREAMBLE = re.compile(
    rf"{_MARKS}(?:¡?{_GREETING_WORDS}(?:\s?[!.,，。！、—–-]+\s*|\s+))?"
    rf"{_HERE}[^:：\n.!?。]{{0,60}}?{_TASK}[sn]?(?:(?:\s*{_BEHIND}|,)[^:：\n]{{0,80}})?\s*{_COLON}\s*",
    re.IGNORECASE,
)
# "Sure, here's one more:", "Here you go!", "A person could ask:", "User:"
_BARE_PREAMBLE = re.compile(
    rf"{_MARKS}(?:{_GREETING_WORDS}(?:\s?[!.,—–-]+\s*|\s+))?"
    r"(?:(?:here(?:'s|’s| is)\s+)?(?:another one|one more)\s*[:：]|here you go\s*[:：!.]"
    r"|(?:a person|a user|someone|somebody)\s+(?:could|might|may|would|can)\s+(?:ask|say|write)"
    r"(?: this| an (?:ai|assistant))?\s*[:：]"
    rf"|(?:user|human|assistant)[*_]*[:：]){_MARKS}\s*",
    re.IGNORECASE,
)
_GREETING = re.compile(rf"¡?{_GREETING_WORDS}\s?[!.！。]+\s*(?=\S)", re.IGNORECASE)
_NUMBER = re.compile(rf"{_MARKS}[#(]?(\d{{1,3}})[.)）、．:：]{_MARKS}\s*(?=[^\s\d])")
_BULLET = re.compile(r"(?:[-–—•·‣▪*+>]|#{1,6})\s+(?=\S)")
_ANSWER_WORDS = _any_of(
    "answer|assistant|output|response|solution|antwort|réponse|respuesta|risposta|ответ|答案|回答|답변"
)
_ANSWER = re.compile(rf"\n(?:[^\S\n]|[*_#])*+{_ANSWER_WORDS}\s*{_COLON}", re.IGNORECASE)
_SIGN_OFF = re.compile(
    r"\n[^\S\n]*+(?:let me know|i hope|hope this|hope that|feel free|would you like another|is there anything else)"
    r"[^\n]*\s*\Z",
    re.IGNORECASE,
)
_RULE = re.compile(r"\A(?:-{3,}|\*{3,}|_{3,})\s*\n|\n[^\S\n]*+(?:-{3,}|\*{3,}|_{3,})\s*\Z")
_END = re.compile(r"(?:<\|(?:im_end|endoftext|end_of_text|eot_id|end|eos)\|>|</s>|<end_of_turn>)\s*\Z")
_FENCE = re.compile(r"\A```\w*\n(.*)\n```\Z", re.DOTALL)
FRAMES = 20  # around a task, one in another; a text of more is left as it is then
_QUOTES = tuple(map(tuple, ('""', "''", "“”", "„“", "„”", "‘’", "«»", "»«", "‹›", "「」", "『』", "``")))

_CANNOT = _any_of(
    "can'?t|can’t|cannot|can not|won'?t|won’t|will not",
    "am unable|am not able|'m unable|'m not able|’m not able|won'?t be able|will not be able",
    "(?:must|have to|need to)(?: respectfully)? decline",
)
_SORRY = _any_of(
    "(?:i'?m|i’m|i am)(?: very| so| really)? (?:sorry|afraid)|sorry|unfortunately",
    r"i apologi[sz]e|my apologies|as an? (?:ai|(?:large )?language model)\b[^,.\n]*",
)
_HELP = _any_of("help|assist|comply|fulfil+|provide|generate|create|write|engage|participate")
_SORRY_ELSEWHERE = _any_of(
    "es tut mir leid|tut mir leid|je suis désolée?|désolée?|lo siento|mi dispiace|desculpe|sinto muito",
    "к сожалению|извините|простите|抱歉|很抱歉|对不起|對不起|申し訳|すみません|죄송",
    "عذرا|عذرًا|آسف|ขออภัย|ขอโทษ",
)
_CANNOT_ELSEWHERE = _any_of(
    "kann|nicht|ne peux|ne puis|no puedo|non posso|não posso|не могу|不能|无法|無法",
    "できません|できかねます|없습니다|لا أستطيع|لا يمكنني|ไม่สามารถ",
)
_REFUSAL = re.compile(
    # "I'm sorry, but I can't ..."; "As an AI, I can't ..."
    rf"{_SORRY},?\.?(?: but)? (?:i|we|this|that|as an ai)\b[^.\n]*?"
    rf"\b(?:{_CANNOT}|don'?t|do not|not appropriate|against)\b"
    # "I can't help with that"; a person's "I can't sleep" is none
    rf"|i(?: {_CANNOT}|'m unable|’m unable|'m not able|’m not able)(?: to)? {_HELP}\b"
    r"[^.\n?]*\b(?:you|that|this|such|task|request|prompt|content)\b[^?\n]*$"
    r"|i (?:must|have to|need to)(?: respectfully)? decline (?:this|that|your|the) (?:task|request|prompt)\b"
    r"|(?:this|that|your) (?:task|request|prompt) (?:violates|goes against|is against) "
    r"(?:my|our|the) (?:guideline|polic)"
    rf"|{_SORRY_ELSEWHERE}[^\n]*?{_CANNOT_ELSEWHERE}",
    re.IGNORECASE,
)


def clean(text: str) -> str | None:
    """The written task alone, without thoughts, greeting, label, number, quotes, or answer; None where it is a refusal.

    What is taken off is only what frames a task: a colon, a number or quotes within it stay.
    """
    text = without_thoughts(text).strip()
    for _ in range(FRAMES):  # a label may stand in bold, in quotes, behind a greeting
        text = _take_off_one(text)
    return None if _REFUSAL.match(text) else text


def _take_off_one(text: str) -> str:
    for ending in (_ANSWER, _SIGN_OFF, _END):
        if (found := ending.search(text)) and text[: found.start()].strip():
            return text[: found.start()].strip()
    if found := _RULE.search(text):
        return (text[: found.start()] + text[found.end() :]).strip()
    for beginning in (_PREAMBLE, _BARE_PREAMBLE, _LABEL, _GREETING, _BULLET):
        if found := beginning.match(text):
            return text[found.end() :].strip()
    if found := _NUMBER.match(text):
        text = text[found.end() :]
        # several tasks: the first one
        following = re.search(rf"\n[^\S\n]*+[*_]*\(?{int(found[1]) + 1}[.)）、．]", text)
        return text[: following.start() if following else None].strip()
    return _unwrapped(text)


def _unwrapped(text: str) -> str:
    """Without the quotes, the bold print or the code fence around the whole of it."""
    if fenced := _FENCE.match(text):
        return fenced[1].strip()
    for mark in ("**", "__", "*", "_"):
        inner = text.removeprefix(mark).removesuffix(mark)
        if len(text) - len(inner) == 2 * len(mark) and mark not in inner:
            return inner.strip()
    for opening, closing in _QUOTES:
        inner = text[1:-1]
        if len(text) > 2 and text[0] == opening and text[-1] == closing and not {opening, closing} & set(inner):
            return inner.strip()
    return text
