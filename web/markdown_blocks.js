// Markdown's blocks: {kind, source, …}, out of lines. `source` tells whether a block has changed.

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/;
const RULE = /^ {0,3}([-*_])([ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)(.*)$/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MAX_DEPTH = 8;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

function startsTable(lines, at) {
  return at + 1 < lines.length && lines[at].includes("|") && lines[at + 1].includes("-") && TABLE_RULE.test(lines[at + 1]);
}

const startsBlock = (lines, at) =>
  FENCE.test(lines[at]) || HEADING.test(lines[at]) || RULE.test(lines[at]) || QUOTE.test(lines[at]) || ITEM.test(lines[at]) ||
  startsTable(lines, at);

function readCode(lines, at) {
  const [, indent, fence, language] = FENCE.exec(lines[at]);
  const close = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !close.test(lines[end])) end++;
  const text = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent.length, indentOf(line))));
  return [{ kind: "code", language: language.trim().split(/\s/)[0], text: text.join("\n") }, Math.min(end + 1, lines.length)];
}

function readQuote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ kind: "quote", blocks: parse(inside, depth + 1) }, end];
}

/** Lines of one list item, without its marker; and where they end. */
function readItem(lines, at) {
  const [, indent, marker, space, text] = ITEM.exec(lines[at]);
  const width = indent.length + marker.length + Math.min(Math.max(space.length, 1), 4);
  const item = [text];
  let end = at + 1;
  for (; end < lines.length; end++) {
    const line = lines[end];
    if (isBlank(line)) {
      const next = lines[end + 1];
      if (next === undefined || isBlank(next) || indentOf(next) < Math.min(width, 2)) break;
      item.push("");
    } else if (indentOf(line) >= Math.min(width, 2)) item.push(line.slice(Math.min(width, indentOf(line))));
    else if (startsBlock(lines, end) || isBlank(lines[end - 1])) break;
    else item.push(line);
  }
  return [item, end];
}

function readList(lines, at, depth) {
  const [, , first] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(first);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const found = ITEM.exec(lines[end]);
    if (!found || /\d/.test(found[2]) !== isOrdered || RULE.test(lines[end])) break;
    const [item, after] = readItem(lines, end);
    items.push(parse(item, depth + 1));
    end = after;
    while (end + 1 < lines.length && isBlank(lines[end]) && ITEM.test(lines[end + 1])) end++; // a loose list
  }
  return [{ kind: "list", isOrdered, start: isOrdered ? parseInt(first, 10) : 1, items }, end];
}

/** Cells of a table's line; a pipe in a code span or after a backslash belongs to its cell. */
function cells(line) {
  const trimmed = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return trimmed.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function readTable(lines, at) {
  const head = cells(lines[at]);
  const alignment = cells(lines[at + 1]).map((rule) => (rule.endsWith(":") ? (rule.startsWith(":") ? "centre" : "right") : "left"));
  let end = at + 2;
  while (end < lines.length && !isBlank(lines[end]) && lines[end].includes("|")) end++;
  const rows = lines.slice(at + 2, end).map((line) => cells(line).slice(0, head.length));
  return [{ kind: "table", head, alignment, rows }, end];
}

function readParagraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !startsBlock(lines, end)) end++;
  return [{ kind: "paragraph", text: lines.slice(at, end).map((line) => line.trim()).join("\n") }, end];
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return readCode(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < MAX_DEPTH && ITEM.test(line)) return readList(lines, at, depth);
  if (startsTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at);
}

export function parse(lines, depth = 0) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const [block, end] = readBlock(lines, at, depth);
    blocks.push({ ...block, source: lines.slice(at, end).join("\n") });
    at = end;
  }
  return blocks;
}
