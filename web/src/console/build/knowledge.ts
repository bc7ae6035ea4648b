/** Knowledge bases and documents as the platform's own endpoint shows them. */

export const BASES = "api/llm-application/open/knowledge";
export const DOCUMENTS = "api/llm-application/open/document";

/** The official ids of the embeddings that a base may use. */
export const EMBEDDINGS = [
  ["11", "embedding-3"],
  ["12", "embedding-3-pro"],
  ["3", "embedding-2"],
] as const;

export interface Base {
  id: string;
  name: string;
  description: string | null;
  embedding_id: number;
  document_size: number;
  length: number;
  word_num: number;
}

export interface Paper {
  id: string;
  name: string;
  url: string | null;
  length: number;
  word_num: number;
  embedding_stat: number; // 0 being read, 1 ready, 2 failed
  failInfo: { embedding_msg: string | null } | null;
}

export interface Found {
  text: string;
  score: number;
  metadata: { _id: string; doc_name: string; contextual_text: string | null; page: number | null };
}

export interface Taken {
  failedInfos: { fileName?: string; url?: string; failReason: string }[];
}
