"""Functions with one right body and wrong ones, and an expression that tells them apart.

Every wrong body parses. The expression is true for the right body, and false or an error for each
wrong one; a test runs them all.
"""

from __future__ import annotations

COMPLETIONS = """
return the sum of a list of numbers | total(values) | return sum(values) | return max(values) | return len(values)
return the largest number of a list | largest(values) | return max(values) | return min(values) | return sum(values)
return the number of elements | count(values) | return len(values) | return sum(values) | return values[0]
return True where n is even | is_even(n) | return n % 2 == 0 | return n % 2 == 1 | return n / 2 == 0
return True where n is odd | is_odd(n) | return n % 2 == 1 | return n % 2 == 0 | return n // 2 == 1
return the last element of a list | last(values) | return values[-1] | return values[0] | return values[1]
return the first element of a list | first(values) | return values[0] | return values[-1] | return values[1]
return the text backwards | backwards(text) | return text[::-1] | return text[1:] | return text[:-1]
return the text in upper case | shout(text) | return text.upper() | return text.lower() | return text.title()
return the square of n | square(n) | return n * n | return n + n | return n / n
return the cube of n | cube(n) | return n ** 3 | return 3 * n | return n ** 2
return the mean of a list | mean(values) | return sum(values) / len(values) | return sum(values) * len(values) | return len(values) / sum(values)
return the words of a text as a list | words(text) | return text.split() | return text.strip() | return list(text)
return the words joined by spaces | join(words) | return ' '.join(words) | return words.join(' ') | return ''.join(words)
return the unique elements as a set | unique(values) | return set(values) | return list(values) | return tuple(values)
return the values sorted in descending order | descending(values) | return sorted(values, reverse=True) | return sorted(values) | return reversed(values)
return the absolute difference of a and b | distance(a, b) | return abs(a - b) | return abs(a + b) | return a - b
return n factorial, recursively | factorial(n) | return 1 if n == 0 else n * factorial(n - 1) | return 0 if n == 0 else n * factorial(n - 1) | return 1 if n == 0 else n + factorial(n - 1)
return True where the text reads the same backwards | is_palindrome(text) | return text == text[::-1] | return text == text[1:] | return text != text[::-1]
return the number of vowels in a text | vowels(text) | return sum(c in 'aeiou' for c in text) | return sum(c not in 'aeiou' for c in text) | return len('aeiou')
return the keys of a dictionary as a list | keys(table) | return list(table.keys()) | return list(table.values()) | return list(table.items())
return the smaller of a and b | smaller(a, b) | return a if a < b else b | return a if a > b else b | return b if a < b else a
return True where all elements are positive | all_positive(values) | return all(v > 0 for v in values) | return any(v > 0 for v in values) | return all(v < 0 for v in values)
return True where any element is negative | any_negative(values) | return any(v < 0 for v in values) | return all(v < 0 for v in values) | return any(v > 0 for v in values)
return the list without its first element | rest(values) | return values[1:] | return values[:-1] | return values[:1]
return the hypotenuse of a right triangle | hypotenuse(a, b) | return (a * a + b * b) ** 0.5 | return (a * a + b * b) ** 2 | return (a + b) ** 0.5
return the text without spaces at both ends | trim(text) | return text.strip() | return text.split() | return text.lower()
return the number of times x occurs in a list | occurrences(values, x) | return values.count(x) | return values.index(x) | return len(values)
return a dictionary from keys and values | table(keys, values) | return dict(zip(keys, values)) | return list(zip(keys, values)) | return dict(keys, values)
return the degrees Fahrenheit of a Celsius value | fahrenheit(c) | return c * 9 / 5 + 32 | return (c - 32) * 5 / 9 | return c * 5 / 9 + 32
""".strip()  # noqa: E501


CHECKS = """
total([1, 2, 4]) == 7
largest([1, 9, 4]) == 9
count([5, 6, 7]) == 3
is_even(4) and not is_even(3)
is_odd(5) and not is_odd(4)
last([1, 2, 3]) == 3
first([1, 2, 3]) == 1
backwards("abc") == "cba"
shout("aBc") == "ABC"
square(3) == 9
cube(2) == 8
mean([1, 2, 6]) == 3
words("to be or") == ["to", "be", "or"]
join(["a", "b"]) == "a b"
unique([1, 1, 2]) == {1, 2}
descending([1, 3, 2]) == [3, 2, 1]
distance(2, 7) == 5
factorial(4) == 24
is_palindrome("anna") and not is_palindrome("ann")
vowels("apricot") == 3
keys({"a": 1, "b": 2}) == ["a", "b"]
smaller(2, 5) == 2
all_positive([1, 2]) and not all_positive([1, -2])
any_negative([1, -2]) and not any_negative([1, 2])
rest([1, 2, 3]) == [2, 3]
hypotenuse(3, 4) == 5
trim(" A b ") == "A b"
occurrences([1, 2, 1], 1) == 2
table(["a", "b"], [1, 2]) == {"a": 1, "b": 2}
fahrenheit(100) == 212
""".strip()
"""What is true of each of these functions where its body is the right one."""

# What it does | the function | the right body | wrong bodies | the expression.
LINES = """
return the text in lower case | lower(text) | return text.lower() | return text.upper() | return text.strip() | lower("AbC") == "abc"
return the text with its first letter capital | capital(text) | return text.capitalize() | return text.lower() | return text[0] | capital("tree") == "Tree"
return the number of characters of the text | size(text) | return len(text) | return text.count(text) | return len(text) + 1 | size("four") == 4
return the first letter of the word | initial(word) | return word[0] | return word[-1] | return word[1:] | initial("pear") == "p"
return the last letter of the word | final(word) | return word[-1] | return word[0] | return word[:-1] | final("pear") == "r"
return True where the word begins with a vowel | vowel_first(word) | return word[0] in "aeiou" | return word[-1] in "aeiou" | return "aeiou" in word | vowel_first("apex") and not vowel_first("bee")
return the text repeated three times | triple(text) | return text * 3 | return text + 3 | return text[3:] | triple("ab") == "ababab"
return the lines of the text as a list | lines(text) | return text.splitlines() | return text.split(",") | return list(text) | lines("a b\\nc") == ["a b", "c"]
return the parts between commas as a list | parts(text) | return text.split(",") | return text.splitlines() | return list(text) | parts("a b,c") == ["a b", "c"]
return the text with every comma removed | no_commas(text) | return text.replace(",", "") | return text.replace("", ",") | return text.split(",") | no_commas("1,000") == "1000"
return True where the text ends with a full stop | ends(text) | return text.endswith(".") | return text.startswith(".") | return "." in text | ends("So.") and not ends("1.5")
return True where the text begins with a hash sign | is_comment(text) | return text.startswith("#") | return text.endswith("#") | return "#" in text | is_comment("# a") and not is_comment("a #")
return True where the text consists of digits alone | is_number(text) | return text.isdigit() | return text.isalpha() | return text.isspace() | is_number("42") and not is_number("x4")
return the whole number that the text stands for | number(text) | return int(text) | return str(text) | return len(text) | number("42") == 42
return the number as text | as_text(n) | return str(n) | return int(n) | return chr(n) | as_text(65) == "65"
return a and b joined by a hyphen | joined(a, b) | return a + "-" + b | return a + b | return "-" + a + b | joined("x", "y") == "x-y"
return twice n | double(n) | return n * 2 | return n ** 2 | return n / 2 | double(5) == 10
return half of n | half(n) | return n / 2 | return n * 2 | return n - 2 | half(9) == 4.5
return n increased by one | increment(n) | return n + 1 | return n - 1 | return n * 1 | increment(7) == 8
return n decreased by one | decrement(n) | return n - 1 | return n + 1 | return -n | decrement(7) == 6
return the number n with its sign changed | negated(n) | return -n | return abs(n) | return n - 1 | negated(3) == -3 and negated(-2) == 2
return the size of n without its sign | size(n) | return abs(n) | return -n | return round(n) | size(-3) == 3 and size(4) == 4
return the larger of a and b | larger(a, b) | return max(a, b) | return min(a, b) | return a + b | larger(2, 9) == 9
return the sum of a and b | add(a, b) | return a + b | return a * b | return a - b | add(2, 3) == 5
return the product of a and b | multiply(a, b) | return a * b | return a + b | return a ** b | multiply(4, 3) == 12
return what remains when a is divided by b | rest(a, b) | return a % b | return a // b | return a / b | rest(17, 5) == 2
return how often b fits wholly into a | fits(a, b) | return a // b | return a % b | return a / b | fits(17, 5) == 3
return True where a equals b | same(a, b) | return a == b | return a != b | return a is not b | same(3, 3) is True and same(3, 4) is False
return True where both a and b are true | both(a, b) | return a and b | return a or b | return not a | both(True, True) and not both(False, True)
return True where at least one of a and b is true | either(a, b) | return a or b | return a and b | return not b | either(False, True) and not either(False, False)
return True where the flag is false | inverted(flag) | return not flag | return flag | return bool(flag) | inverted(False) is True and inverted(True) is False
return the second element of a list | second(values) | return values[1] | return values[2] | return values[-2] | second([4, 5, 6, 7]) == 5
return a copy of the list | copied(values) | return list(values) | return values | return len(values) | (lambda x: copied(x) == x and copied(x) is not x)([1, 2])
return the list in reverse order | reverse(values) | return values[::-1] | return values[1:] | return sorted(values) | reverse([3, 1, 2]) == [2, 1, 3]
return the values in ascending order | ascending(values) | return sorted(values) | return values[::-1] | return list(values) | ascending([3, 1, 2]) == [1, 2, 3]
return the list with x added at its end | added(values, x) | return values + [x] | return [x] + values | return values * x | added([1, 2], 3) == [1, 2, 3]
return True where the list has no elements | is_empty(values) | return len(values) == 0 | return len(values) > 0 | return values[0] == 0 | is_empty([]) and not is_empty([1])
return True where x occurs in the list | has(values, x) | return x in values | return values[x] | return x == values | has([5, 7], 7) and not has([5, 7], 1)
return the position of x in the list | place(values, x) | return values.index(x) | return values.count(x) | return values[x] | place([5, 7, 9], 9) == 2
return the values of a dictionary as a list | contents(table) | return list(table.values()) | return list(table.keys()) | return list(table) | contents({"a": 1}) == [1]
return the entry of the dictionary under the key | entry(table, key) | return table[key] | return table.pop(0) | return key in table | entry({"a": 2}, "a") == 2
return True where the key is in the dictionary | known(table, key) | return key in table | return table[key] | return key == table | known({"a": 0}, "a") and not known({"a": 0}, "b")
return the elements that are in both sets | shared(a, b) | return a & b | return a - b | return a | b if a else b | shared({1, 2}, {2, 3}) == {2}
return the area of a rectangle | area(width, height) | return width * height | return width + height | return 2 * (width + height) | area(3, 4) == 12
return the perimeter of a rectangle | perimeter(width, height) | return 2 * (width + height) | return width * height | return width + height | perimeter(3, 4) == 14
return the area of a triangle | triangle(base, height) | return base * height / 2 | return base * height | return (base + height) / 2 | triangle(3, 4) == 6
return the volume of a box | volume(a, b, c) | return a * b * c | return a + b + c | return a * b + c | volume(2, 3, 4) == 24
return the average speed of a journey | speed(distance, time) | return distance / time | return distance * time | return time / distance | speed(100, 4) == 25
return the price with a tax of 20 percent | gross(price) | return price * 1.2 | return price * 0.2 | return price + 20 | abs(gross(50) - 60) < 1e-9
return the mean of a and b | middle(a, b) | return (a + b) / 2 | return a + b / 2 | return (a - b) / 2 | middle(2, 6) == 4
""".strip()  # noqa: E501

DENSE_LINES = """
return the words sorted by their length | by_length(words) | return sorted(words, key=len) | return sorted(words) | return sorted(len(w) for w in words) | return sorted(words, key=len, reverse=True) | by_length(["pear", "fig", "apple"]) == ["fig", "pear", "apple"]
return the words sorted by their last letter | by_last(words) | return sorted(words, key=lambda w: w[-1]) | return sorted(words, key=lambda w: w[0]) | return sorted(w[-1] for w in words) | return sorted(words)[-1] | by_last(["ax", "zb", "ba"]) == ["ba", "zb", "ax"]
return the values sorted by their absolute value | by_size(values) | return sorted(values, key=abs) | return sorted(abs(v) for v in values) | return sorted(values) | return abs(sorted(values)) | by_size([-3, 1, 2]) == [1, 2, -3]
return the longest word | longest(words) | return max(words, key=len) | return max(words) | return max(len(w) for w in words) | return min(words, key=len) | longest(["zoo", "apple", "fig"]) == "apple"
return the shortest word | shortest(words) | return min(words, key=len) | return min(words) | return min(len(w) for w in words) | return max(words, key=len) | shortest(["apple", "fig", "plum"]) == "fig"
return the length of the longest word | width(words) | return max(len(w) for w in words) | return max(words, key=len) | return len(max(words)) | return sum(len(w) for w in words) | width(["apple", "fig"]) == 5 and width(["zoo", "apple"]) == 5
return the squares of the values | squares(values) | return [v * v for v in values] | return [v + v for v in values] | return [2 ** v for v in values] | return sum(v * v for v in values) | squares([1, 3]) == [1, 9]
return the sum of the squares of the values | square_sum(values) | return sum(v * v for v in values) | return sum(values) ** 2 | return [v * v for v in values] | return sum(2 * v for v in values) | square_sum([1, 3]) == 10
return the lengths of the words | lengths(words) | return [len(w) for w in words] | return len(words) | return [w * len(w) for w in words] | return sum(len(w) for w in words) | lengths(["a", "bcd"]) == [1, 3]
return the words in upper case | shouted(words) | return [w.upper() for w in words] | return words.upper() | return [w.lower() for w in words] | return [w.upper for w in words] | shouted(["a", "b"]) == ["A", "B"]
return the first letters of the words as one text | initials(words) | return "".join(w[0] for w in words) | return "".join(words)[0] | return [w[0] for w in words] | return "".join(w[-1] for w in words) | initials(["new", "york"]) == "ny"
return the words that contain the letter | with_letter(words, letter) | return [w for w in words if letter in w] | return [w for w in words if w in letter] | return [letter for w in words if letter in w] | return [w for w in words if w[0] == letter] | with_letter(["dim", "cat"], "i") == ["dim"]
return a dictionary from each word to its length | table(words) | return {w: len(w) for w in words} | return {len(w): w for w in words} | return {w: words.count(w) for w in words} | return [(w, len(w)) for w in words] | table(["ab", "c"]) == {"ab": 2, "c": 1}
return the sum of the values of a dictionary | total(table) | return sum(table.values()) | return sum(table.keys()) | return sum(table) | return len(table.values()) | total({1: 5, 2: 7}) == 12
return the key with the largest value | best(table) | return max(table, key=table.get) | return max(table) | return max(table.values()) | return max(table, key=len) | best({"a": 3, "bb": 1}) == "a" and best({"a": 3, "bb": 5, "ccc": 1}) == "bb"
return the keys in alphabetical order | ordered(table) | return sorted(table) | return sorted(table.values()) | return sorted(table.items()) | return list(table) | ordered({"b": 1, "a": 2}) == ["a", "b"]
return the entry under the key, or zero where there is none | entry(table, key) | return table.get(key, 0) | return table[key] or 0 | return table.get(0, key) | return table.pop(key) | entry({"a": 1}, "a") == 1 and entry({}, "b") == 0
return True where all values are different | unique(values) | return len(set(values)) == len(values) | return len(set(values)) < len(values) | return set(values) == values | return len(set(values)) == 1 | unique([1, 2]) and not unique([1, 1, 2])
return True where all values are equal | equal(values) | return len(set(values)) == 1 | return len(set(values)) == len(values) | return set(values) == 1 | return len(values) == 1 | equal([2, 2, 2]) and not equal([2, 3])
return the difference between the largest and the smallest value | spread(values) | return max(values) - min(values) | return min(values) - max(values) | return max(values) + min(values) | return values[-1] - values[0] | spread([4, 9, 2, 5]) == 7
return the products of the elements of both lists, pair by pair | products(a, b) | return [x * y for x, y in zip(a, b)] | return [x * y for x in a for y in b] | return [x + y for x, y in zip(a, b)] | return sum(x * y for x, y in zip(a, b)) | products([1, 2], [3, 4]) == [3, 8]
return the scalar product of two lists | scalar(a, b) | return sum(x * y for x, y in zip(a, b)) | return sum(a) * sum(b) | return sum(x + y for x, y in zip(a, b)) | return sum(x * y for x in a for y in b) | scalar([1, 2], [3, 4]) == 11
return all pairs of an element of a and an element of b | pairs(a, b) | return [(x, y) for x in a for y in b] | return list(zip(a, b)) | return [(x, y) for x in a if x in b] | return [x + y for x in a for y in b] | pairs([1], [3, 4]) == [(1, 3), (1, 4)]
return the elements of a that are not in b | without(a, b) | return [x for x in a if x not in b] | return [x for x in b if x not in a] | return [x for x in a if x in b] | return [x for x in a if x != b] | without([1, 2, 3], [2]) == [1, 3]
return the text without its vowels | consonants(text) | return "".join(c for c in text if c not in "aeiou") | return "".join(c for c in text if c in "aeiou") | return text.replace("aeiou", "") | return text.strip("aeiou") | consonants("planet") == "plnt"
return the number of capital letters | capitals(text) | return sum(c.isupper() for c in text) | return len(text.upper()) | return sum(c.islower() for c in text) | return text.count("A") | capitals("NaClO") == 3
return the sum of the digits of n | digit_sum(n) | return sum(int(d) for d in str(n)) | return sum(str(n)) | return sum(range(n)) | return int(str(n)[0]) | digit_sum(352) == 10
return the number of digits of n | digits(n) | return len(str(n)) | return len(n) | return int(str(n)) | return n // 10 | digits(352) == 3
return the last digit of n | last_digit(n) | return n % 10 | return n // 10 | return n - 10 | return n / 10 | last_digit(352) == 2
return n without its last digit | shortened(n) | return n // 10 | return n % 10 | return n / 10 | return n - 10 | shortened(352) == 35
return the sum of the numbers from 1 to n | up_to(n) | return n * (n + 1) // 2 | return n * (n - 1) // 2 | return sum(range(n)) | return n * n // 2 | up_to(4) == 10
return the numbers from 1 to n as a list | counting(n) | return list(range(1, n + 1)) | return list(range(n)) | return list(range(1, n)) | return list(range(n + 1)) | counting(3) == [1, 2, 3]
return the numbers from n down to 1 as a list | countdown(n) | return list(range(n, 0, -1)) | return list(range(n, 1, -1)) | return list(range(1, n, -1)) | return list(range(n, -1, -1)) | countdown(3) == [3, 2, 1]
return the even numbers below n as a list | evens(n) | return list(range(0, n, 2)) | return list(range(1, n, 2)) | return list(range(2, n)) | return list(range(0, 2, n)) | evens(7) == [0, 2, 4, 6]
return the list with its first and last element exchanged | exchanged(values) | return [values[-1], *values[1:-1], values[0]] | return [values[0], *values[1:-1], values[-1]] | return [values[-1], *values[1:], values[0]] | return values[::-1] | exchanged([1, 2, 3, 4]) == [4, 2, 3, 1]
return the list in which each element is followed by its double | doubled(values) | return [x for v in values for x in (v, 2 * v)] | return [2 * v for v in values] | return [(v, 2 * v) for v in values] | return values + [2 * v for v in values] | doubled([1, 3]) == [1, 2, 3, 6]
return the distance of two points of the plane | distance(x, y, u, v) | return ((x - u) ** 2 + (y - v) ** 2) ** 0.5 | return ((x - y) ** 2 + (u - v) ** 2) ** 0.5 | return (x - u) ** 2 + (y - v) ** 2 | return abs(x - u) + abs(y - v) | distance(0, 0, 3, 4) == 5
return the capital after so many years at a yearly rate in percent | grown(capital, rate, years) | return capital * (1 + rate / 100) ** years | return capital * (1 + rate / 100) * years | return capital * (rate / 100) ** years | return capital + rate / 100 * years | abs(grown(100, 10, 2) - 121) < 1e-9
""".strip()  # noqa: E501

# A function; after #! the changes that make it wrong; after #= the expression.
FUNCTIONS = '''
def digit_root(n):
    """Sum the digits of n again and again until one digit is left."""
    while n > 9:
        n = sum(int(d) for d in str(n))
    return n
#! n > 9 => n < 9 || while n => if n || sum(int => max(int
#= digit_root(987) == 6 and digit_root(12) == 3

def reversed_number(n):
    """Return the number whose digits are those of n in reverse order."""
    result = 0
    while n > 0:
        result = result * 10 + n % 10
        n = n // 10
    return result
#! result * 10 + n % 10 => result + n % 10 || n = n // 10 => n = n // 10 - 1 || + n % 10 => + n // 10
#= reversed_number(123) == 321

def is_prime(n):
    """Return True where n is a prime number."""
    if n < 2:
        return False
    for d in range(2, n):
        if n % d == 0:
            return False
    return True
#! n % d == 0 => n % d != 0 || range(2, n) => range(1, n) || n % d == 0 => d % n == 0
#= is_prime(7) and not is_prime(9) and not is_prime(1)

def halvings(n):
    """Count how often n can be halved before it is odd."""
    count = 0
    while n % 2 == 0:
        n = n // 2
        count += 1
    return count
#! n % 2 == 0 => n % 2 == 1 || count += 1 => count += n || n % 2 == 0 => n > 1
#= halvings(24) == 3 and halvings(7) == 0

def power(base, exponent):
    """Return base to the power of exponent, by squaring."""
    result = 1
    while exponent > 0:
        if exponent % 2 == 1:
            result *= base
        base *= base
        exponent //= 2
    return result
#! result = 1 => result = 0 || exponent % 2 == 1 => exponent % 2 == 0 || base *= base => base += base
#= power(3, 5) == 243 and power(2, 4) == 16

def bubble_sorted(values):
    """Sort a copy of the list by exchanging neighbours."""
    values = list(values)
    for end in range(len(values) - 1, 0, -1):
        for i in range(end):
            if values[i] > values[i + 1]:
                values[i], values[i + 1] = values[i + 1], values[i]
    return values
#! values[i] > values[i + 1] => values[i] < values[i + 1] || range(end) => range(1, end) || - 1, 0, -1 => - 1, 1, -1
#= bubble_sorted([3, 1, 2]) == [1, 2, 3] and bubble_sorted([4, 2]) == [2, 4]

def second_largest(values):
    """Return the second largest of different values."""
    first = second = float("-inf")
    for v in values:
        if v > first:
            first, second = v, first
        elif v > second:
            second = v
    return second
#! first, second = v, first => first = v || return second => return first || elif v > second => elif v < second
#= second_largest([1, 9, 5]) == 5 and second_largest([3, 4]) == 3

def is_balanced(text):
    """Return True where every bracket that opens is closed in order."""
    depth = 0
    for c in text:
        if c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0
#! depth == 0 => depth >= 0 || depth < 0 => depth > 0 || depth -= 1 => depth = 1
#= is_balanced("(())()") and not is_balanced("(()") and not is_balanced(")(")

def shifted(text, steps):
    """Replace each small letter by the one so many steps later in the alphabet."""
    result = ""
    for c in text:
        result += chr((ord(c) - 97 + steps) % 26 + 97)
    return result
#! % 26 + 97 => % 26 || + steps) => - steps) || % 26 + 97 => + 97
#= shifted("xyz", 3) == "abc"

def to_binary(n):
    """Return the digits of the positive number n in base two."""
    digits = ""
    while n > 0:
        digits = str(n % 2) + digits
        n //= 2
    return digits
#! str(n % 2) + digits => digits + str(n % 2) || n > 0 => n > 1 || n % 2 => n // 2
#= to_binary(12) == "1100"

def from_binary(digits):
    """Return the number that the digits stand for in base two."""
    n = 0
    for d in digits:
        n = 2 * n + int(d)
    return n
#! 2 * n + int(d) => n + 2 * int(d) || n = 0 => n = 1 || 2 * n + int(d) => 2 * (n + int(d))
#= from_binary("1100") == 12

def running_sums(values):
    """Return the sums of the first one, two, three and so on of the values."""
    sums = []
    total = 0
    for v in values:
        total += v
        sums.append(total)
    return sums
#! sums.append(total) => sums.append(v) || total += v => total = v + 1 || sums.append(total) => sums = [total]
#= running_sums([1, 2, 3]) == [1, 3, 6]

def pairs_with_sum(values, target):
    """Count the pairs of elements that add up to the target."""
    count = 0
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            if values[i] + values[j] == target:
                count += 1
    return count
#! range(i + 1, len(values)) => range(len(values)) || == target => < target || count += 1 => count = 1
#= pairs_with_sum([1, 4, 2, 3], 5) == 2 and pairs_with_sum([1, 2], 9) == 0

def without_repeats(text):
    """Return the text with each run of one letter cut to a single letter."""
    result = ""
    for c in text:
        if not result or c != result[-1]:
            result += c
    return result
#! c != result[-1] => c not in result || result += c => result = c || c != result[-1] => c == result[-1]
#= without_repeats("aabbba") == "aba"

def fibonacci(n):
    """Return the n-th Fibonacci number, where the first two are 0 and 1."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
#! a, b = 0, 1 => a, b = 1, 1 || a, b = b, a + b => a, b = b, a || return a => return b
#= fibonacci(0) == 0 and fibonacci(7) == 13

def divisors(n):
    """Return the positive numbers that divide n, in order."""
    found = []
    for d in range(1, n + 1):
        if n % d == 0:
            found.append(d)
    return found
#! range(1, n + 1) => range(1, n) || range(1, n + 1) => range(2, n + 1) || n % d == 0 => d % n == 0
#= divisors(12) == [1, 2, 3, 4, 6, 12]

def whole_root(n):
    """Return the largest whole number whose square is at most n."""
    root = 0
    while (root + 1) ** 2 <= n:
        root += 1
    return root
#! <= n => < n || (root + 1) ** 2 => root ** 2 || root += 1 => root += 2
#= whole_root(9) == 3 and whole_root(24) == 4

def peaks(values):
    """Return the elements that are larger than both of their neighbours."""
    found = []
    for i in range(1, len(values) - 1):
        if values[i - 1] < values[i] > values[i + 1]:
            found.append(values[i])
    return found
#! < values[i] > => > values[i] < || append(values[i]) => append(i) || values[i - 1] < values[i] > values => values[i] > values
#= peaks([1, 5, 2, 9, 3, 1]) == [5, 9]

def differences(values):
    """Return by how much each element exceeds the one before it."""
    result = []
    for i in range(1, len(values)):
        result.append(values[i] - values[i - 1])
    return result
#! values[i] - values[i - 1] => values[i - 1] - values[i] || range(1, len(values)) => range(len(values)) || values[i] - values[i - 1] => values[i] - i
#= differences([1, 4, 9]) == [3, 5]

def interleaved(a, b):
    """Return the elements of a and b in turn; both are equally long."""
    result = []
    for x, y in zip(a, b):
        result.append(x)
        result.append(y)
    return result
#! result.append(y) => result.insert(0, y) || result.append(x) => result.append(y) || result.append(y) => return result
#= interleaved([1, 2], [7, 8]) == [1, 7, 2, 8]

def depth(text):
    """Return how deeply the round brackets of the text are nested."""
    level = deepest = 0
    for c in text:
        if c == "(":
            level += 1
            deepest = max(deepest, level)
        elif c == ")":
            level -= 1
    return deepest
#! return deepest => return level || level -= 1 => level = level || max(deepest, level) => min(deepest, level)
#= depth("(()())") == 2 and depth("()()()") == 1

def diagonal_sum(matrix):
    """Return the sum of the elements on the main diagonal."""
    total = 0
    for i in range(len(matrix)):
        total += matrix[i][i]
    return total
#! matrix[i][i] => matrix[i][0] || matrix[i][i] => matrix[0][i] || matrix[i][i] => sum(matrix[i])
#= diagonal_sum([[1, 2], [3, 4]]) == 5

def column_sums(matrix):
    """Return the sum of each column."""
    sums = [0] * len(matrix[0])
    for row in matrix:
        for i, v in enumerate(row):
            sums[i] += v
    return sums
#! sums[i] += v => sums[i] = v || sums[i] += v => sums[i] += i || sums[i] += v => sums[0] += v
#= column_sums([[1, 2], [3, 4]]) == [4, 6]

def widest_gap(values):
    """Return the largest difference of neighbours in the sorted list."""
    widest = 0
    for a, b in zip(values, values[1:]):
        if b - a > widest:
            widest = b - a
    return widest
#! b - a > widest => a - b > widest || widest = b - a => widest = b || > widest => < widest
#= widest_gap([1, 3, 8, 9]) == 5

def is_ascending(values):
    """Return True where no element is smaller than the one before it."""
    for i in range(len(values) - 1):
        if values[i] > values[i + 1]:
            return False
    return True
#! values[i] > values[i + 1] => values[i] >= values[i + 1] || > values[i + 1] => < values[i + 1] || range(len(values) - 1) => range(len(values))
#= is_ascending([1, 2, 2]) and not is_ascending([2, 1])

def place_of_smallest(values):
    """Return the index of the smallest element."""
    place = 0
    for i in range(1, len(values)):
        if values[i] < values[place]:
            place = i
    return place
#! values[i] < values[place] => values[i] > values[place] || place = i => place = values[i] || values[i] < values[place] => values[i] < place
#= place_of_smallest([5, 2, 8]) == 1

def years_to_double(rate):
    """Return after how many whole years a capital has doubled at a rate in percent."""
    capital, years = 1.0, 0
    while capital < 2:
        capital *= 1 + rate / 100
        years += 1
    return years
#! capital < 2 => capital > 2 || 1 + rate / 100 => 1 + rate || years += 1 => years = 1
#= years_to_double(10) == 8

def mode(values):
    """Return the value that occurs most often."""
    counts = {}
    for v in values:
        counts[v] = counts.get(v, 0) + 1
    return max(counts, key=counts.get)
#! counts.get(v, 0) + 1 => 1 || max(counts, key=counts.get) => max(counts) || counts.get(v, 0) + 1 => counts.get(v, 0) - 1
#= mode([4, 1, 1, 4, 1]) == 1

def positions(text, letter):
    """Return the indices at which the letter stands in the text."""
    found = []
    for i, c in enumerate(text):
        if c == letter:
            found.append(i)
    return found
#! found.append(i) => found.append(c) || found.append(i) => return i || c == letter => c != letter
#= positions("banana", "a") == [1, 3, 5]

def title(words):
    """Join the words with spaces, each with a capital first letter."""
    result = ""
    for w in words:
        if result:
            result += " "
        result += w[0].upper() + w[1:]
    return result
#! w[0].upper() + w[1:] => w[0].upper() + w || if result => if not result || w[0].upper() + w[1:] => w.upper()
#= title(["new", "york"]) == "New York"

def smallest_missing(values):
    """Return the smallest positive whole number that is not in the list."""
    n = 1
    while n in values:
        n += 1
    return n
#! n = 1 => n = 0 || n in values => n not in values || while n in => if n in
#= smallest_missing([1, 2, 4]) == 3 and smallest_missing([2]) == 1

def zeros_last(values):
    """Return the values in their order, but with all zeros at the end."""
    kept = []
    zeros = []
    for v in values:
        if v == 0:
            zeros.append(v)
        else:
            kept.append(v)
    return kept + zeros
#! kept + zeros => zeros + kept || v == 0 => v != 0 || kept + zeros => kept
#= zeros_last([0, 1, 0, 2]) == [1, 2, 0, 0]

def binomial(n, k):
    """Return the number of ways to choose k of n things."""
    if k == 0 or k == n:
        return 1
    return binomial(n - 1, k - 1) + binomial(n - 1, k)
#! binomial(n - 1, k - 1) + => binomial(n - 1, k) + || return 1 => return 0 || + binomial(n - 1, k) => * binomial(n - 1, k)
#= binomial(5, 2) == 10

def depth_sum(nested):
    """Add up the numbers of a list whose elements are numbers or such lists."""
    total = 0
    for x in nested:
        if isinstance(x, list):
            total += depth_sum(x)
        else:
            total += x
    return total
#! total += depth_sum(x) => total += len(x) || total += depth_sum(x) => total = depth_sum(x) || total += x => total = x
#= depth_sum([1, [2, [3]], 4]) == 10
'''.strip()  # noqa: E501
