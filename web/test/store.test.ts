import { expect, test } from "vitest";
import { MemoryShelf } from "../src/app/shelf";
import { FORMAT, type Kept, newConversation } from "../src/chat/browser/kept";
import { ConversationStore } from "../src/chat/browser/store";
import { newId, newMessage } from "../src/chat/model";

function conversation(text: string, updated: number): Kept {
  const asked = newMessage({ role: "user", parent_id: null, text });
  return { format: FORMAT, conversation: newConversation(newId("conv_"), updated), messages: [asked], leaf: asked.id };
}

/** A browser's storage: throws when it would hold more than `quota` characters. */
class SmallShelf extends MemoryShelf {
  constructor(private readonly quota: number) {
    super();
  }
  override setItem(key: string, value: string): void {
    let size = value.length;
    for (let i = 0; i < this.length; i++) {
      const other = this.key(i)!;
      if (other !== key) size += this.getItem(other)!.length;
    }
    if (size > this.quota) throw new DOMException("full", "QuotaExceededError");
    super.setItem(key, value);
  }
}

test("what is saved comes back, last touched first", () => {
  const shelf = new MemoryShelf();
  const store = new ConversationStore(shelf);
  const [older, newer] = [conversation("older", 1), conversation("newer", 2)];
  expect(store.save(newer)).toEqual({ kept: true, dropped: [] });
  store.save(older);
  expect(new ConversationStore(shelf).all()).toEqual([newer, older]);
  store.remove(newer.conversation.id);
  expect(store.all()).toEqual([older]);
});

test("over the budget the oldest go, never the one that is saved", () => {
  const store = new ConversationStore(new MemoryShelf(), 4000);
  const all = [1, 2, 3, 4].map((age) => conversation("x".repeat(500), age));
  const dropped = all.flatMap((each) => store.save(each).dropped);
  expect(dropped).toEqual([all[0]!.conversation.id]);
  expect(store.all().map((each) => each.conversation.updated_at)).toEqual([4, 3, 2]);
});

test("when the browser's quota is smaller than our budget, room is made there too", () => {
  const store = new ConversationStore(new SmallShelf(2600));
  store.save(conversation("x".repeat(500), 1));
  const second = conversation("y".repeat(1000), 2);
  expect(store.save(second).dropped).toHaveLength(1);
  expect(store.all()).toEqual([second]);
});

test("a conversation that fits nowhere is reported, and nothing throws", () => {
  const store = new ConversationStore(new SmallShelf(100));
  expect(store.save(conversation("x".repeat(500), 1))).toEqual({ kept: false, dropped: [] });
});

test("what this version cannot read is left alone", () => {
  const shelf = new MemoryShelf();
  shelf.setItem("openglm.1.conversation.later", '{"format":3}');
  shelf.setItem("another.app", "{}");
  expect(new ConversationStore(shelf).all()).toEqual([]);
  expect(shelf.length).toBe(2);
});
