import{r as e,t}from"./chunk-QB3YPZ4I-BEqTw7qq.js";import"./chunk-TU62E6Q5-Bl_LraZH.js";import"./chunk-HPSUCWAI-CSLK7EXV.js";import"./chunk-CFHHFPVC-DOq688av.js";import"./chunk-HFQBQIA3-DZBMz552.js";import"./chunk-M57EVK23-ByrDN4jk.js";import"./chunk-DQASFODM-BmrqAFUH.js";import"./chunk-LEVMRMFU-CZQnBJPb.js";import"./chunk-AXFCVDMN-yN0UpJeV.js";import"./chunk-X4PVCEUW-BE8wQCyv.js";import"./chunk-STOXU5M4-CNAMwwGr.js";import"./chunk-R3KSYZAL-CTBqxl0u.js";import"./chunk-6MUBBAK2-9ISErre4.js";import"./chunk-BG4553SI-CUtpEoY8.js";import"./d3-selection-0IvC3OnK.js";import{n}from"./chunk-Y2CYZVJY-DsF7k-Jl.js";var r=t({styles:n(t=>`${e(t)}
  .swimlane.cluster:not([data-color-id]) rect {
    stroke: ${t.clusterBorder} !important;
  }
  [data-look="neo"].cluster rect {
    filter: none;
  }
`,`getStyles`)});export{r as diagram};