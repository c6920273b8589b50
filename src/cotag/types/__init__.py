"""The five values that everything is made of: LabelSpace, Index, Batch and Output, Scores, Section."""
