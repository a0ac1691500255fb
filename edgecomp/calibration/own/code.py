"""Code: short Python functions to be written, explained and tested.

What the calls return is computed by running the functions, which are ours.
"""

from __future__ import annotations

from typing import Any

# What it does ; calls to show ; the function. An empty line between functions.
FUNCTIONS = """
returns the items of a list in pieces of a given size, the last piece being shorter where need be ; pieces([1, 2, 3, 4, 5], 2) ; pieces([], 3)
def pieces(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]

replaces runs of equal letters by the letter and the length of the run ; run_lengths("aaabcc") ; run_lengths("x")
def run_lengths(text):
    result = ""
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or text[i] != text[start]:
            result += f"{text[start]}{i - start}"
            start = i
    return result

finds the position of a value in a sorted list by halving the range, or returns None ; position([2, 5, 8, 13], 8) ; position([2, 5, 8, 13], 6)
def position(ordered, value):
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < len(ordered) and ordered[low] == value else None

merges two sorted lists into one sorted list in a single pass ; merge([1, 4, 9], [2, 3, 10]) ; merge([], [7])
def merge(left, right):
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]

swaps the rows and columns of a matrix ; transposed([[1, 2, 3], [4, 5, 6]]) ; transposed([[7]])
def transposed(matrix):
    return [list(column) for column in zip(*matrix)]

converts a positive integer to a Roman numeral ; roman(1994) ; roman(48)
def roman(number):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
             (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    text = ""
    for value, letters in table:
        text += letters * (number // value)
        number %= value
    return text

counts how often each word of a text occurs, without regard to case ; frequencies("The dog and the cat") ; frequencies("")
def frequencies(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts

groups words by their first letter ; by_initial(["plum", "pear", "fig"]) ; by_initial([])
def by_initial(words):
    groups = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    return groups

exchanges the keys and values of a dictionary whose values are all different ; inverted({"one": 1, "two": 2}) ; inverted({})
def inverted(table):
    return {value: key for key, value in table.items()}

averages every window of consecutive values ; moving_average([2, 4, 6, 8], 2) ; moving_average([5, 5, 5], 3)
def moving_average(values, width):
    return [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]

limits a number to a range ; clamp(17, 0, 10) ; clamp(-3, 0, 10)
def clamp(number, low, high):
    return max(low, min(number, high))

tells whether a year has a 29th of February in the Gregorian calendar ; is_leap(2024) ; is_leap(1900)
def is_leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)

counts the places at which two texts of equal length differ ; distance("karolin", "kathrin") ; distance("abc", "abc")
def distance(first, second):
    if len(first) != len(second):
        raise ValueError("the texts must have the same length")
    return sum(a != b for a, b in zip(first, second))

multiplies two matrices given as lists of rows ; matrix_product([[1, 2], [3, 4]], [[5, 6], [7, 8]]) ; matrix_product([[2]], [[3]])
def matrix_product(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]

removes repeated elements and keeps the first of each in place ; distinct([3, 1, 3, 2, 1]) ; distinct([])
def distinct(items):
    return list(dict.fromkeys(items))

splits "key=value" pairs joined by ampersands into a dictionary ; parse_query("page=2&sort=name") ; parse_query("")
def parse_query(query):
    return dict(pair.split("=", 1) for pair in query.split("&") if pair)

lists all subsets of a list, smaller ones built first ; subsets([1, 2]) ; subsets([])
def subsets(items):
    result = [[]]
    for item in items:
        result += [chosen + [item] for chosen in result]
    return result

formats a number of seconds as hours, minutes and seconds ; clock(3725) ; clock(59)
def clock(seconds):
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

computes the greatest common divisor of several numbers with Euclid's algorithm ; common_divisor(84, 36, 60) ; common_divisor(7)
def common_divisor(first, *others):
    for other in others:
        while other:
            first, other = other, first % other
    return first

lists the primes below a limit with the sieve of Eratosthenes ; primes_below(20) ; primes_below(2)
def primes_below(limit):
    prime = [True] * limit
    for n in range(2, limit):
        if prime[n]:
            for multiple in range(n * n, limit, n):
                prime[multiple] = False
    return [n for n in range(2, limit) if prime[n]]

turns a nested list of any depth into a flat one ; flat([1, [2, [3, []]], 4]) ; flat([])
def flat(items):
    result = []
    for item in items:
        result.extend(flat(item) if isinstance(item, list) else [item])
    return result

tells whether two words consist of the same letters ; are_anagrams("Listen", "Silent") ; are_anagrams("apple", "plea")
def are_anagrams(first, second):
    return sorted(first.lower()) == sorted(second.lower())

moves the first elements of a list to its end ; rotated([1, 2, 3, 4], 1) ; rotated([1, 2, 3], 5)
def rotated(items, steps):
    if not items:
        return []
    steps %= len(items)
    return items[steps:] + items[:steps]

finds the indices of two numbers that add up to a target in one pass, or returns None ; two_indices([4, 9, 2, 7], 11) ; two_indices([1, 2], 9)
def two_indices(numbers, target):
    seen = {}
    for index, number in enumerate(numbers):
        if target - number in seen:
            return seen[target - number], index
        seen[number] = index
    return None

sorts a list by moving each element to its place among those before it ; insertion_sorted([5, 2, 8, 1]) ; insertion_sorted([])
def insertion_sorted(items):
    ordered = []
    for item in items:
        place = len(ordered)
        while place > 0 and ordered[place - 1] > item:
            place -= 1
        ordered.insert(place, item)
    return ordered

evaluates an expression in postfix notation ; postfix("3 4 + 2 *") ; postfix("9 5 -")
def postfix(expression):
    stack = []
    for token in expression.split():
        if token in "+-*":
            right, left = stack.pop(), stack.pop()
            stack.append({"+": left + right, "-": left - right, "*": left * right}[token])
        else:
            stack.append(int(token))
    return stack.pop()

finds the number of steps on the shortest path between two nodes of a graph, or returns None ; steps({"a": ["b"], "b": ["c"], "c": []}, "a", "c") ; steps({"a": [], "b": []}, "a", "b")
def steps(graph, start, goal):
    reached, level, count = {start}, [start], 0
    while level:
        if goal in level:
            return count
        level = [n for node in level for n in graph[node] if n not in reached]
        reached.update(level)
        count += 1
    return None

counts the ways to pay an amount with given coins ; ways(5, [1, 2, 5]) ; ways(3, [2])
def ways(amount, coins):
    table = [1] + [0] * amount
    for coin in coins:
        for total in range(coin, amount + 1):
            table[total] += table[total - coin]
    return table[amount]

computes the edit distance between two words ; edits("kitten", "sitting") ; edits("", "abc")
def edits(first, second):
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]

shortens a text at a word boundary and marks the cut with three dots ; shortened("a long line of text", 12) ; shortened("short", 12)
def shortened(text, width):
    if len(text) <= width:
        return text
    return text[: width - 3].rsplit(" ", 1)[0] + "..."

fills the placeholders of a template from a dictionary and leaves unknown ones alone ; filled("Dear {name}, {x}", {"name": "Ada"}) ; filled("plain", {})
def filled(template, values):
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template

computes the running totals of a list ; running_totals([3, 1, 4]) ; running_totals([])
def running_totals(values):
    totals, total = [], 0
    for value in values:
        total += value
        totals.append(total)
    return totals

converts text in snake case to camel case ; camel_case("read_next_line") ; camel_case("word")
def camel_case(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
""".strip()  # noqa: E501


def pairs() -> list[tuple[str, str]]:
    """Three tasks for each of 33 functions: write it, explain it, test it."""
    made = []
    for entry in FUNCTIONS.split("\n\n"):
        header, source = entry.split("\n", 1)
        purpose, *calls = header.split(" ; ")
        made += [
            _write(purpose, source, calls),
            _explain(purpose, source, calls),
            _test(source, calls),
        ]
    return made


def _name(source: str) -> str:
    return source.removeprefix("def ").split("(", 1)[0]


def _result(source: str, call: str) -> str:
    """What our own function returns, as Python shows it."""
    names: dict[str, Any] = {}
    exec(source, names)
    return repr(eval(call, names))


def _write(purpose: str, source: str, calls: list[str]) -> tuple[str, str]:
    shown = "\n".join(f">>> {call}\n{_result(source, call)}" for call in calls)
    return (
        f"Write a Python function `{_name(source)}` that {purpose}. Show how it is called.",
        f"```python\n{source}\n```\n\nFor example:\n\n```\n{shown}\n```",
    )


def _explain(purpose: str, source: str, calls: list[str]) -> tuple[str, str]:
    results = " and ".join(f"`{call}` gives `{_result(source, call)}`" for call in calls)
    return (
        f"What does this function do?\n\n```python\n{source}\n```",
        f"`{_name(source)}` {purpose}. For example, {results}.",
    )


def _test(source: str, calls: list[str]) -> tuple[str, str]:
    checks = "\n".join(f"    {_check(call, _result(source, call))}" for call in calls)
    return (
        f"Write a pytest test for this function, with an ordinary and an unusual case.\n\n"
        f"```python\n{source}\n```",
        f"```python\ndef test_{_name(source)}():\n{checks}\n```",
    )


def _check(call: str, result: str) -> str:
    if result in ("None", "True", "False"):
        return f"assert {call} is {result}"
    return f"assert {call} == {result}"
