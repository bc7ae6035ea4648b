import { useEffect, useState } from "preact/hooks";
import { api } from "../../app/api";
import { closeDrawer } from "../../app/layout";
import { failureOf, type Failure } from "../../app/useSend";
import { Link } from "../../ui/Button";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { TextField } from "../../ui/Field";
import { Time } from "../../ui/Time";
import { titleOf } from "../list";
import { at } from "../server/backend";
import { t } from "../words";
import { t as shell } from "../../app/words";
import { Page } from "./Page";

interface Found {
  conversation_id: string;
  title: string;
  message_id: string;
  snippet: string;
  /** Where the words stand in the snippet. */
  marks: [start: number, end: number][];
  created_at: number;
}

interface Results {
  items: Found[];
  next: string | null;
}

const REST_MS = 200;

export function Search() {
  const [words, setWords] = useState("");
  const [results, setResults] = useState<Results | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const wanted = words.trim();
  const find = async (before: string | null, signal?: AbortSignal) => {
    try {
      const found = await api.get<Results>(at("search"), { q: wanted, before, limit: 20 }, signal);
      setResults((old) => ({ ...found, items: before && old ? [...old.items, ...found.items] : found.items }));
      setFailure(null);
    } catch (error) {
      if (error instanceof DOMException) return; // other words were typed meanwhile
      setFailure(failureOf(error));
    }
  };
  useEffect(() => {
    if (wanted === "") {
      setResults(null);
      return;
    }
    const controller = new AbortController();
    const timer = setTimeout(() => void find(null, controller.signal), REST_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [wanted]);
  return (
    <Page title={t.value.search} failure={failure}>
      <TextField label={t.value.searchHint} type="search" autofocus value={words} onInput={setWords} />
      {results === null && !failure && <EmptyState title={t.value.searchBegin} icon="search" />}
      {results?.items.length === 0 && <EmptyState title={t.value.searchNothing} icon="search" />}
      <ul class="results">
        {results?.items.map((found) => (
          <li key={found.message_id}>
            <Link to={`chat/${found.conversation_id}?at=${found.message_id}`} class="result" onClick={closeDrawer}>
              <strong>{titleOf(found)}</strong>
              <Time at={found.created_at} />
              <p>{marked(found)}</p>
            </Link>
          </li>
        ))}
      </ul>
      {results?.next && <Button onClick={() => void find(results.next)}>{shell.value.showMore}</Button>}
    </Page>
  );
}

function marked({ snippet, marks }: Found) {
  let from = 0;
  return [
    ...marks.flatMap(([start, end]) => {
      const before = snippet.slice(from, start);
      from = end;
      return [before, <mark key={start}>{snippet.slice(start, end)}</mark>];
    }),
    snippet.slice(from),
  ];
}
